"""The HTTP service: `create_app(settings)` over collections and rerankers. Extra: `mmrerank[serve]`."""

"""What training a reranker needs: the rewards of MM-R5."""

"""Query -> first ranking. One file per method; its name is the retriever's name."""

"""What training a reranker needs: losses, rewards, reinforcement."""

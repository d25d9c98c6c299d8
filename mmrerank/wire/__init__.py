"""How a server is asked: its address, a client for it, a request with retries, pictures on their way. For every part that asks one."""

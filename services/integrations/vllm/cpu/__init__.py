"""On vLLM's path when it is started without a GPU, and on nobody else's: Python runs ``sitecustomize`` there in each of its processes."""

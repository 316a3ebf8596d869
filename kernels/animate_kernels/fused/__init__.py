"""Our kernels in Triton, one a file, each with the signature of its definition. Imported only where they are to run."""

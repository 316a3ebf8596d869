"""The kernels in Triton, one a file, each with the signature of its definition; imported only where they run."""

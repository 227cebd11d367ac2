"""The CUDA kernels without a GPU: compiled, run as source on the CPU, and run as the PTX that NVRTC makes of them."""

"""What the Python-based Triton backends in ``backends/`` share: they stand in for the C++ backends of the same names.

A repository that loads here must load on NVIDIA's container too, so a configuration that the C++ backend refuses is
refused here, in its words. Nothing below imports Triton: the engines work on arrays, and ``bridge`` alone is handed
``triton_python_backend_utils`` by the ``model.py`` files, which run inside the server.
"""

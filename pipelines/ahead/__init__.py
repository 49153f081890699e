"""Kernels compiled ahead of time: what numba made of them, used without importing numba.

`signature.py` says what a call looks like, `entry.py` is one kernel for one signature as bytes,
`image.py` brings object code to life (`linked.py` where it does not know how), `symbols.py` knows what that refers to, `store.py` is the
folder.  `pipelines/jit.py` asks here first.
"""

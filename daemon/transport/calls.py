"""Calls: what a socket is asked and answers at once, without giving the interpreter away for it.

Python lets other threads run during each call of a socket. One that never rests then has the
interpreter, and keeps it for `SWITCH_S` each time; and where nobody wants it,
giving it away and taking it again costs more than the call.
"""

import ctypes
import os
import socket
from typing import Final

_LIBC: Final = ctypes.PyDLL(None, use_errno=True)
_RECV: Final = _LIBC.recv
_RECV.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_RECV.restype = ctypes.c_ssize_t
_SETSOCKOPT: Final = _LIBC.setsockopt
_SETSOCKOPT.argtypes = (*[ctypes.c_int] * 3, ctypes.c_void_p, ctypes.c_uint32)
_ONE: Final = ctypes.c_int(1)
_ONE_AT: Final = ctypes.addressof(_ONE)
_QUICK_ACK: Final = getattr(socket, "TCP_QUICKACK", None)  # Linux only


def receive(descriptor: int, address: int, most: int) -> int:
    """Read into memory from a socket that does not block, as `socket.recv_into` does."""
    n: int = _RECV(descriptor, address, most, socket.MSG_DONTWAIT)
    if n < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))  # BlockingIOError, where nothing is there
    return n


def confirm(descriptor: int) -> None:
    """Have TCP confirm at once what has come, as far as the system can."""
    if _QUICK_ACK is not None:
        _SETSOCKOPT(descriptor, socket.IPPROTO_TCP, _QUICK_ACK, _ONE_AT, 4)

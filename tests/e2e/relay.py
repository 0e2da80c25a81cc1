"""Relays a Unix socket to another, until it is ended. usage: relay.py LISTEN TARGET [FILE [HEADER...]]

Writes the request lines that pass to FILE, if given, and the lines of these headers.
"""
import os
import re
import signal
import socket
import sys
import threading

listen, target = sys.argv[1], sys.argv[2]
headers = "|".join(re.escape(h) for h in sys.argv[4:]).encode()
log = open(sys.argv[3], "a", buffering=1) if len(sys.argv) > 3 else None
if os.path.exists(listen):
    os.unlink(listen)


def end(*_):
    os.unlink(listen)
    os._exit(0)


signal.signal(signal.SIGTERM, end)


def pump(a, b, note):
    try:
        while True:
            data = a.recv(65536)
            if not data:
                break
            if note and log:
                more = rb"|(?:" + headers + rb"): [^\r\n]*" if headers else b""
                for m in re.findall(rb"^(?:(?:GET|POST|PUT|HEAD|DELETE) \S+ HTTP/1\.1" + more + rb")", data, re.M):
                    log.write(m.decode() + "\n")
            b.sendall(data)
    except OSError:
        pass
    for s in (a, b):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


s = socket.socket(socket.AF_UNIX)
s.bind(listen)
s.listen(64)
while True:
    a, _ = s.accept()
    b = socket.socket(socket.AF_UNIX)
    try:
        b.connect(target)
    except OSError:
        a.close()
        continue
    threading.Thread(target=pump, args=(a, b, True), daemon=True).start()
    threading.Thread(target=pump, args=(b, a, False), daemon=True).start()

"""The store of a running gantryd: copies, restoring, looking, damage; and the key for secrets."""
import http.client
import os
import shutil
import signal
import sqlite3
import stat
import struct
import subprocess
import threading
import zlib

import pytest

from harness import patient, program, wait_for


def row_sum(row):
    """The checksum of a row, from its description in the sources: numbers as 8 bytes, texts behind their lengths."""
    out = b""
    for v in row:
        if isinstance(v, int):
            out += struct.pack("<q", v)
        else:
            v = v if isinstance(v, bytes) else v.encode()
            out += struct.pack("<Q", len(v)) + v
    n = (len(out) & 0x7fffffff) << 32 | zlib.crc32(out)
    return n


def put_rows(path, count, doc=b'{"container":{}}'):
    """Writes rows as gantryd would, while none runs."""
    db = sqlite3.connect(path)
    sums = 0
    for i in range(count):
        row = (f"w{i:06}", 1, "r1", 1, doc, "a" * 64, "uid:0", 1, 0, 1, 2, 0, 0, 0, "", "", 0)
        total = row_sum(row)
        sums += total
        db.execute("INSERT INTO workloads(id, type, revision, desired, doc, print, who, generation, flags, created_ns, updated_ns, attempts,"
                   f"last_failure_ns, next_try_ns, reason, failure, cause, sum) VALUES({'?,' * 17}?)", (*row, total))
    sums = (sums + 2**63) % 2**64 - 2**63
    db.execute("UPDATE totals SET rows = ?, sums = ?", (count, sums))
    db.commit()
    db.close()


def check(*args):
    return subprocess.run([program("gantryd"), *args], capture_output=True, text=True, timeout=patient(30))


def look(st, *file):
    return check("--config", str(st.root / "config.yml"), "--check-store", *map(str, file))


@pytest.fixture
def filled(own_stack):
    """A stack whose store has 200 rows."""
    st = own_stack
    st.store = st.root / "state" / "state.db"
    st.start()
    st.stop_gantryd()
    put_rows(st.store, 200)
    st.start_gantryd()
    return st


def test_files_are_private(filled):
    assert stat.S_IMODE(filled.store.stat().st_mode) == 0o600
    assert stat.S_IMODE(filled.store.parent.stat().st_mode) == 0o700


def test_backup_and_restore(filled):
    st = filled
    copy = st.root / "copy.db"
    r = st.cli("store", "backup", str(copy))
    assert r.returncode == 0 and str(copy.stat().st_size) in r.stdout, r.stderr
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    r = check("--check-store", str(copy))
    assert r.returncode == 0 and "200 workloads" in r.stdout and "in good order" in r.stdout
    piped = subprocess.run([program("gantry"), "--host", f"unix:{st.unix}", "store", "backup", "-"], capture_output=True, timeout=patient(30))
    assert piped.stdout == copy.read_bytes()
    # Another one in its place.
    other = st.root / "other.db"
    shutil.copy(copy, other)
    db = sqlite3.connect(other)
    db.execute("DELETE FROM workloads")
    db.execute("UPDATE totals SET rows = 0, sums = 0")
    db.commit()
    db.close()
    put_rows(other, 7)
    r = st.cli("store", "restore", str(other))
    assert r.returncode == 0 and "7 workloads" in r.stdout, r.stderr
    st.stop_gantryd(signal.SIGKILL)
    st.start_gantryd()
    assert "store-restored" in st.gantryd.text()
    st.stop_gantryd()
    assert "7 workloads" in look(st).stdout
    kept = list(st.store.parent.glob("state.db.before-*"))
    assert len(kept) == 1
    assert "200 workloads" in check("--check-store", str(kept[0])).stdout
    assert not list(st.store.parent.glob("*.restore")) and not list(st.store.parent.glob("*.upload"))


def test_large_upload_is_checked(filled):
    """Beyond http.limits.max_body, with faults that only show inside."""
    st = filled
    st.stop_gantryd()
    put = st.root / "large.db"
    shutil.copy(st.store, put)
    db = sqlite3.connect(put)
    db.execute("DELETE FROM workloads")
    db.execute("UPDATE totals SET rows = 0, sums = 0")
    db.commit()
    db.close()
    put_rows(put, 2000, doc=b"x" * 2000)
    st.start_gantryd()
    assert put.stat().st_size > 4 << 20
    db = sqlite3.connect(put)
    db.execute("UPDATE workloads SET revision = 'r2' WHERE id = 'w000042'")
    db.commit()
    db.close()
    r = st.cli("store", "restore", str(put))
    assert r.returncode == 1 and "w000042" in r.stderr and "checksum" in r.stderr
    db = sqlite3.connect(put)
    db.execute("UPDATE workloads SET revision = 'r1' WHERE id = 'w000042'")
    db.commit()
    db.close()
    r = st.cli("-o", "json", "store", "restore", str(put))
    assert '"workloads":2000' in r.stdout.replace(" ", ""), r.stderr
    for body, words in ((b"no store at all", "no SQLite file"), (b"", "empty")):
        a = st.ask("POST", "/v1/store/restore", body=body)
        assert a.status == 400 and words in a.body.decode()


def test_a_client_that_leaves(filled):
    st = filled
    for _ in range(3):
        c = http.client.HTTPConnection("127.0.0.1", st.port, timeout=60)
        c.putrequest("POST", "/v1/store/restore")
        c.putheader("content-length", "5000000")
        c.endheaders()
        c.send(b"SQLite format 3\0" + b"x" * 700000)
        c.close()
    wait_for("no upload left", lambda: not list(st.store.parent.glob("*.upload")))
    assert st.get("/readyz").status == 200


def test_many_at_once(filled):
    st = filled
    answers = []

    def ask():
        answers.append(st.ask("POST", "/v1/store/backup").status)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert set(answers) <= {200, 503} and 200 in answers
    wait_for("no copy left", lambda: not list(st.store.parent.glob("*.backup")))


def test_one_gantryd_for_one_file(filled):
    st = filled
    pid = st.gantryd.p.pid
    r = look(st)
    assert r.returncode == 1 and f"used by process {pid}" in r.stderr and "gantry store backup" in r.stderr
    config = st.root / "second.yml"
    config.write_text(f"state: {{path: {st.store}}}\nsecrets: {{key_file: {st.root}/keys/k}}\naudit: {{file: none}}\n"
                      f"auth: {{tokens: {st.root}/t2.json}}\nhttp: {{listeners: [{{address: 'unix:{st.sockets}/second.sock'}}]}}\n")
    log = st.root / "second.log"
    with open(log, "w") as out:
        p = subprocess.Popen([program("gantryd"), "--config", str(config)], stderr=out)
    try:
        wait_for("its word about the store", lambda: "serving" in log.read_text())
        assert f"used by process {pid}" in log.read_text() and "store-unusable" in log.read_text()
        r = subprocess.run([program("gantry"), "--host", f"unix:{st.sockets}/second.sock", "store", "backup", str(st.root / "x")],
                           capture_output=True, text=True, timeout=patient(20))
        assert r.returncode == 1 and f"process {pid}" in r.stderr
        assert not (st.root / "x").exists()
    finally:
        p.terminate()
        assert p.wait(patient(20)) == 0


def test_damage_is_told_and_left_alone(filled):
    st = filled
    st.stop_gantryd()
    data = bytearray(st.store.read_bytes())
    data[100:140] = b"\xff" * 40
    st.store.write_bytes(data)
    r = look(st)
    assert r.returncode == 1 and "nothing was changed" in r.stdout
    st.start_gantryd()
    ready = st.get("/readyz").json()
    said = next(c for c in ready["checks"] if c["name"] == "store")
    assert not said["ok"] and "damaged" in said["detail"] and "--check-store" in said["detail"]
    assert st.get("/containers").status == 200
    assert st.ask("POST", "/v1/store/backup").status == 503
    st.stop_gantryd()
    assert st.store.read_bytes() == data


def test_rights_and_audit(filled):
    st = filled
    assert st.cli("store", "backup", str(st.root / "c.db")).returncode == 0
    made = st.cli("token", "create", "reader", "--right", "admin * *", "--right", "read * *")
    assert made.returncode == 0, made.stderr
    h = {"authorization": f"Bearer {made.stdout.strip()}"}
    assert st.ask("POST", "/v1/store/backup", headers=h).status == 403
    assert st.ask("POST", "/v1/store/restore", body=b"x", headers=h).status == 403
    wait_for("the records", lambda: st.audit_file.read_text().count("/v1/store/") >= 3)
    text = st.audit_file.read_text()
    assert '"kind":"store"' in text and "/v1/store/backup" in text and "refused" in text


def test_new_key(own_stack):
    st = own_stack
    (st.root / "config.yml").write_text(st.config())
    key = st.root / "keys" / "secret.key"
    for n in (1, 2):
        r = check("--config", str(st.root / "config.yml"), "--new-secret-key")
        assert r.returncode == 0 and str(key) in r.stdout, r.stderr
        assert len([line for line in key.read_text().split() if len(line) == 64]) == n
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    os.chmod(key, 0o644)
    st.start()
    assert "secret-key-unusable" in st.gantryd.text() and "0644" in st.gantryd.text()

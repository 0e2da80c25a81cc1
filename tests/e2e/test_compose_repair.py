"""Compose projects whose files, containers or images were changed behind gantryd's back, or whose update failed half way: the document
says what is wanted, and that is what is there again."""
import json

from harness import wait_for
from test_compose import LOOP, TWO, Composer, keeper, own_keeper, project, service  # noqa: F401 (fixtures)


def env_of(k, id, part):
    box = json.loads(k.engine.docker("inspect", k.boxes(id)[part][0]))[0]
    return dict(line.split("=", 1) for line in box["Config"]["Env"])


def lose(k, id, part):
    """A container goes, and another one comes in its place."""
    gone = k.boxes(id)[part][1]
    k.engine.docker("rm", "-f", gone)
    back = lambda box: box[1] != gone and box[2] == "running"
    wait_for(f"{part} of {id} is back", lambda: back(k.boxes(id).get(part, ["", gone, ""])), 30)


def test_files_that_were_changed_say_again_what_the_document_says(keeper):  # noqa: F811
    yaml = project(web=service(more=", environment: {WORD: '${WORD}'}"), db=service())
    keeper.up("mend-1", yaml, env={"WORD": "two words"})
    keeper.reaches("mend-1", "running", 40, phase="idle")
    folder = keeper.compose_root / "mend-1"
    written = (folder / ".env").read_bytes()
    web = keeper.boxes("mend-1")["web"]
    (folder / ".env").unlink()
    lose(keeper, "mend-1", "db")
    keeper.reaches("mend-1", "running", 30, phase="idle")
    assert (folder / ".env").read_bytes() == written and (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert keeper.boxes("mend-1")["web"] == web and env_of(keeper, "mend-1", "web")["WORD"] == "two words"
    # What somebody has written there is not brought up, whether the tool understands it or not.
    for text in ("nonsense: [", project(web=service("echo other; " + LOOP), db=service(), more=service())):
        (folder / "docker-compose.yml").write_text(text)
        lose(keeper, "mend-1", "db")
        w = keeper.reaches("mend-1", "running", 30, phase="idle")
        assert w["message"] == "2/2 containers running" and (folder / "docker-compose.yml").read_text() == yaml
        assert keeper.boxes("mend-1")["web"] == web
    (folder / "docker-compose.yml").unlink()
    lose(keeper, "mend-1", "db")
    keeper.reaches("mend-1", "running", 30, phase="idle")
    assert (folder / "docker-compose.yml").read_text() == yaml and keeper.boxes("mend-1")["web"] == web
    keeper.remove("mend-1")


def test_what_was_adopted_is_kept_whole(own_keeper):  # noqa: F811
    k = own_keeper
    folder = k.compose_root / "whole-1"
    folder.mkdir(parents=True)
    (folder / "docker-compose.yml").write_text(TWO)
    (folder / ".env").write_text("A=1")
    (folder / ".env").chmod(0o644)
    k.compose("whole-1", "up", "-d")
    before = k.boxes("whole-1")
    k.begin()
    k.up("whole-1", TWO, revision_id="1", env={"A": "1"})
    k.reaches("whole-1", "running", 30, revision_id="1", phase="idle")
    assert k.boxes("whole-1") == before
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600, "it may hold secrets"
    lose(k, "whole-1", "db")
    w = k.reaches("whole-1", "running", 30, phase="idle")
    assert w["message"] == "2/2 containers running" and k.boxes("whole-1")["web"] == before["web"]


def test_a_record_that_knows_nothing_is_no_running_project(keeper):  # noqa: F811
    keeper.up("half-1", project(web=service(), init=service("echo once")))
    keeper.reaches("half-1", "running", 40, phase="idle")
    wait_for("init has ended", lambda: keeper.boxes("half-1")["init"][2] == "exited")
    # All but the service that is done goes at once, and the folder with it.
    import shutil
    shutil.rmtree(keeper.compose_root / "half-1")
    keeper.engine.docker("rm", "-f", keeper.boxes("half-1")["web"][0])
    wait_for("web is back", lambda: keeper.boxes("half-1").get("web", ["", "", ""])[2] == "running", 40)
    keeper.reaches("half-1", "running", 30, message="1/2 containers running")
    keeper.remove("half-1")


def test_a_new_revision_of_the_same_file_asks_the_tool(keeper):  # noqa: F811
    image = "busybox:moves"
    keeper.engine.docker("tag", "busybox:local", image)
    yaml = project(web=service().replace("busybox:local", image), db=service())
    keeper.up("img-1", yaml, revision_id="1")
    keeper.reaches("img-1", "running", 40, phase="idle")
    before = keeper.boxes("img-1")
    # Nothing differs: nothing is made anew.
    keeper.up("img-1", yaml, revision_id="2")
    keeper.reaches("img-1", "running", 40, revision_id="2", phase="idle")
    assert keeper.boxes("img-1") == before
    # Another image behind the same name: that is told before, and done.
    keeper.engine.docker("create", "--name", "moved-1", "busybox:local", "true")
    keeper.engine.docker("commit", "-m", "moved", "moved-1", image)
    keeper.engine.docker("rm", "moved-1")
    a = keeper.up("img-1", yaml, "?dry_run=true", revision_id="3").json()
    assert {s["part"]: s["change"] for s in a["steps"]} == {"web": "recreate", "db": "keep"}, a
    doc = keeper.root / "img.json"
    doc.write_text(json.dumps({"id": "img-1", "type": "compose", "revision_id": "3", "compose": {"compose_yaml": yaml}}))
    r = keeper.cli("diff", "-f", str(doc))
    assert r.returncode == 1 and r.stdout.startswith("img-1: update\n") and "would recreate: web" in r.stdout, r
    keeper.up("img-1", yaml, revision_id="3")
    keeper.reaches("img-1", "running", 40, revision_id="3", phase="idle")
    after = keeper.boxes("img-1")
    assert after["db"] == before["db"] and after["web"][1] != before["web"][1]
    keeper.remove("img-1")
    keeper.engine.docker("rmi", image)


def test_an_update_that_fails_half_way_is_not_called_running(keeper):  # noqa: F811
    keeper.up("fail-1", TWO, revision_id="1")
    keeper.reaches("fail-1", "running", 40, phase="idle")
    before = keeper.boxes("fail-1")
    bad = project(web=service("echo new; " + LOOP), db=service().replace("busybox:local", "127.0.0.1:1/none:1"))
    keeper.up("fail-1", bad, revision_id="2")
    w = keeper.reaches("fail-1", "failed", 60, given_up=True)
    # The registry does not answer: that says nothing of the image, and was tried again.
    assert w["attempts"] > 1 and w["reason"] == "NETWORK_UNREACHABLE", w
    keeper.call("POST", "/v1/workloads/fail-1/action", {"action": "retry"})
    w = keeper.reaches("fail-1", "failed", 60, given_up=True)
    assert "127.0.0.1:1" in w["failure"] and keeper.boxes("fail-1")["db"] == before["db"]
    keeper.up("fail-1", TWO, revision_id="3")
    keeper.reaches("fail-1", "running", 40, revision_id="3", phase="idle")
    keeper.remove("fail-1")

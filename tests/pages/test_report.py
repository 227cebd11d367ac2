"""Building a report: what is written, kept, refused; and results that have nothing to show."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.errors import ArgumentError, DataError, NetDissectError, OutputError
from netdissect_fast.pages import picture_jobs as drawing
from netdissect_fast.results.run_result import Dissection
from netdissect_fast.storage import only_writer

from .scenes import HOSTILE, Scenes, dissection


@pytest.fixture
def figures() -> None:
    """Asked for by tests in which figures are drawn: they take most of the time of a small report."""


@pytest.fixture(autouse=True)
def _own_cache(request, tmp_path, monkeypatch):
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path / "cache"))
    if "figures" not in request.fixturenames:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def layer_folder(out: Path) -> Path:
    (folder,) = (out / "layers").iterdir()
    return folder


def test_what_is_written(tmp_path, figures):
    result = dissection()
    done = nd.report(result, tmp_path / "out", heat_map=True, picture_size=48)
    assert done.index == tmp_path / "out" / "index.html"
    written = files(tmp_path / "out")
    assert done.bytes == sum(map(len, written.values()))
    assert done.units == 6
    assert done.pictures == done.drawn == sum(name.endswith(".jpg") for name in written)
    (layer,) = result.values()
    labelled = sum(row.label != "" for row in layer.units())
    units = sum("-mask.jpg" in name for name in written)
    assert units == 5  # unit 0 is silent
    assert sum("-heat.jpg" in name for name in written) == units
    assert sum("-concept.jpg" in name for name in written) == labelled
    folder = layer_folder(tmp_path / "out")
    assert nd.compare_csv(folder / "units.csv").to_csv() == layer.table.to_csv()
    assert [row["unit"] for row in json.loads((folder / "units.json").read_text())] == list(range(6))
    for name in ("layers", "iou"):
        for kind in ("svg", "pdf", "png"):
            assert written[f"figures/{name}.{kind}"]
    assert "6 units" in str(done)
    assert "kB and" in str(done)


def test_nothing_is_loaded_from_elsewhere(tmp_path, figures):
    nd.report(dissection(), tmp_path / "out")
    for name, content in files(tmp_path / "out").items():
        if name.endswith((".html", ".css", ".js")):
            outside = content.decode().replace("https://arxiv.org/abs/1704.05796", "")
            assert "//" not in outside.replace("// ", "").replace("<!doctype", "") or name.endswith(".js"), name
            assert "http" not in outside, name


def test_names_are_text(tmp_path):
    """Concepts, categories, layers, models and images may be called anything; none of it becomes markup."""
    nd.report(dissection(), tmp_path / "out")
    pages = {name: text.decode() for name, text in files(tmp_path / "out").items() if name.endswith(".html")}
    assert len(pages) == 1 + 1 + 6 + 1 + 5
    for text in pages.values():
        for markup in ("<script>document", "<b>part", "<i>wet", "<layer>", "<u>", "'owned'</script>"):
            assert markup not in text
        assert "&lt;script&gt;document" in text  # the model's name


@pytest.mark.browser
def test_hostile_names_in_a_browser(tmp_path, browse):
    nd.report(dissection(), tmp_path / "out")
    (layer,) = dissection().values()
    folder = layer_folder(tmp_path / "out")
    for page_file in (tmp_path / "out" / "index.html", folder / "index.html", folder / "unit-3.html"):
        page = browse(tmp_path / "out", str(page_file.relative_to(tmp_path / "out")))
        assert page.title() != "owned"
        assert HOSTILE in page.get_by_role("navigation").inner_text()
        assert page.locator("main script, main b, main u, main i").count() == 0
    page = browse(tmp_path / "out", "concepts/5.html")
    assert page.get_by_role("heading", level=1).inner_text() == HOSTILE
    page = browse(tmp_path / "out", f"{folder.relative_to(tmp_path / 'out')}/index.html")
    row = next(row for row in layer.units() if row.detector)
    bar = page.locator(".bars a").filter(has_text=row.label)
    bar.click()
    assert str(row.unit) in page.locator("tbody tr a.unit").all_text_contents()


class Stopped(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 4, 9])
def test_an_interrupted_build_resumes(tmp_path, monkeypatch, after):
    result = dissection()
    whole = nd.report(result, tmp_path / "whole", threads=1)
    write, drawn = drawing.write_picture, []

    def stop(path, image):
        if len(drawn) == after:
            raise Stopped
        drawn.append(str(path.relative_to(tmp_path / "out")))
        write(path, image)

    monkeypatch.setattr(drawing, "write_picture", stop)
    with pytest.raises(Stopped):
        nd.report(result, tmp_path / "out", threads=1)
    assert not (tmp_path / "out" / "index.html").exists()
    assert {name for name in files(tmp_path / "out") if name.endswith(".jpg")} == set(drawn)
    monkeypatch.setattr(drawing, "write_picture", write)
    before = {path: (tmp_path / "out" / path).stat().st_mtime_ns for path in drawn}
    done = nd.report(result, tmp_path / "out")
    kept = {path for path in drawn if (tmp_path / "out" / path).stat().st_mtime_ns == before[path]}
    assert len(drawn) - len(kept) <= 1  # strips of a unit are drawn together
    assert done.drawn == whole.drawn - len(kept)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_pictures_are_kept_as_long_as_they_hold(tmp_path):
    out = tmp_path / "out"
    first = nd.report(dissection(), out)
    assert nd.report(dissection(), out).drawn == 0
    assert nd.report(dissection(), out, iou_threshold=0.2).drawn == 0
    half = next((out / "layers").rglob("*-mask.jpg"))
    half.write_bytes(half.read_bytes()[:-10])  # as a power failure leaves it
    assert nd.report(dissection(), out).drawn == 2
    assert nd.report(dissection(), out, outline=True).drawn == first.drawn
    of_concepts = 4
    assert nd.report(dissection(), out, outline=True, top_images=3).drawn == first.drawn - of_concepts
    assert nd.report(dissection(data=Scenes(grey=9)), out, outline=True, top_images=3).drawn == first.drawn


def test_nothing_of_an_older_report_stays(tmp_path):
    nd.report(dissection(units=9), tmp_path / "out")
    nd.report(dissection(units=3, name="other"), tmp_path / "out")
    nd.report(dissection(units=3, name="other"), tmp_path / "fresh")
    assert files(tmp_path / "out") == files(tmp_path / "fresh")
    nd.report(dissection(units=3, name="other"), tmp_path / "out", pictures=False)
    assert not any(name.endswith(".jpg") for name in files(tmp_path / "out"))


def test_a_folder_that_is_no_report_is_left_alone(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "index.html").write_text("mine")
    (tmp_path / "thesis" / ".lock").write_text("mine")
    with pytest.raises(OutputError, match="not a report"):
        nd.report(dissection(), tmp_path / "thesis")
    assert files(tmp_path / "thesis") == {"index.html": b"mine", ".lock": b"mine"}
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot write"):
        nd.report(dissection(), tmp_path / "file")


def test_links_in_a_report_are_not_followed(tmp_path):
    """Building again removes what an earlier build wrote, never what a link in it leads to."""
    nd.report(dissection(), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    (tmp_path / "out" / "layers" / "link").symlink_to(tmp_path / "mine")
    nd.report(dissection(), tmp_path / "out", outline=True)
    assert (tmp_path / "mine" / "file").read_text() == "mine"
    assert not (tmp_path / "out" / "layers" / "link").exists()


@pytest.mark.browser
@pytest.mark.parametrize("given", [{"thresholds": [np.inf] * 4}, {"thresholds": [0.0] * 4}, {"quantile": "0.001"}])
def test_results_with_nothing_to_show(tmp_path, browse, given):
    """No detector, no image above a threshold, no peaks: every page is there and says so."""
    data = Scenes()
    silent = np.zeros((len(data), 4, 3, 3), np.float32)
    layer = nd.score(silent, data, name="silent", **given)
    result = Dissection({"silent": layer}, {}, data)
    assert not any(layer.detectors().values())
    done = nd.report(result, tmp_path / "out")
    assert done.pictures == 4  # of the concepts that occur
    page = browse(tmp_path / "out")
    page.get_by_role("navigation").get_by_role("link", name="silent", exact=True).last.click()
    page.get_by_role("columnheader", name="IoU").get_by_role("button").click()
    assert page.locator("tbody tr").count() == 4
    assert "No unit of this layer detects a concept" in page.locator("main").inner_text()
    page.get_by_role("link", name="2", exact=True).click()
    text = page.locator("main").inner_text()
    assert "no peaks were kept" in text if "thresholds" in given else "does not exceed its threshold" in text


def test_a_table_alone(tmp_path):
    """Anybody's result.csv has a page of its own, and stands beside a run."""
    result = dissection()
    (layer,) = result.values()
    layer.table.save(tmp_path / "old.csv")
    old = nd.compare_csv(tmp_path / "old.csv")
    alone = nd.report(old, tmp_path / "alone")
    assert (alone.units, alone.pictures) == (6, 0)
    assert not (tmp_path / "alone" / "concepts").exists()
    both = nd.report(result, tmp_path / "both", compare={"old": old, "again": layer})
    assert both.units == 18
    folders = {path.name for path in (tmp_path / "both" / "layers").iterdir()}
    assert len(folders) == 3
    assert {"old", "again"} < folders
    overview = (tmp_path / "both" / "index.html").read_text()
    assert all(f'href="layers/{folder}/index.html"' in overview for folder in folders)


def test_bad_arguments(tmp_path):
    result = dissection()
    (name,) = result
    out = tmp_path / "out"
    with pytest.raises(ArgumentError, match="two layers"):
        nd.report(result, out, compare={name: result[name]})
    with pytest.raises(ArgumentError, match="nothing to report"):
        nd.report(Dissection({}), out)
    with pytest.raises(ArgumentError, match="on 12 images"):
        nd.report(result, out, data=Scenes(images=8))
    with pytest.raises(ArgumentError, match="is not the data set"):
        nd.report(Dissection(result.layers, {"data": {"fingerprint": "00"}}), out, data=Scenes())
    with pytest.raises(ArgumentError, match="pass the data set"):
        nd.report(Dissection(result.layers, {}), out)
    with pytest.raises(ArgumentError, match="pixels"):
        nd.report(result, out, picture_size=3)
    with pytest.raises(ArgumentError, match="iou_threshold"):
        nd.report(result, out, iou_threshold=float("nan"))
    with pytest.raises(ArgumentError, match="workers"):
        nd.report(result, out, workers=-1)
    assert not out.exists()


def test_a_broken_image_is_named(tmp_path):
    data = Scenes()

    def image(index: int):
        raise DataError("photo.jpg", "is not a readable JPEG")

    data.image = image
    with pytest.raises(DataError, match=r"photo\.jpg"):
        nd.report(dissection(data=data), tmp_path / "out")
    assert not (tmp_path / "out" / "index.html").exists()


def test_a_worker_that_cannot_start_is_explained(tmp_path):
    """In a script without the usual guard, processes cannot start."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "import netdissect_fast as nd\nfrom tests.pages.scenes import dissection\n"
        f"nd.report(dissection(), {str(tmp_path / 'out')!r}, workers=1)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "or use workers=0" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / "index.html").exists()


def test_without_matplotlib(tmp_path):
    nd.report(dissection(), tmp_path / "out")
    assert "pip install" in (tmp_path / "out" / "index.html").read_text()
    assert not (tmp_path / "out" / "figures").exists()


# ------------------------------------------------------------------------------------------ command line


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Folder with a data set ``scenes`` and a saved run ``run`` of it."""
    from ..support.networks import two_layers

    folder = tmp_path_factory.mktemp("run")
    assert main(["data", "synth", str(folder / "scenes"), "--images", "24", "--size", "48"]) == 0
    options = {"quantile": "0.02", "cache": folder / "cache", "progress": False}
    nd.dissect(two_layers(), nd.Broden(folder / "scenes"), ["0", "3"], out=folder / "run", **options)
    return folder


def test_command(run, tmp_path, capsys):
    assert main(["report", str(run / "run"), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert Path(printed[-1]).read_text().startswith("<!doctype html>")
    assert printed[0].startswith("18 units, ")
    assert nd.report(nd.load(run / "run"), tmp_path / "out").drawn == 0  # the same, from Python
    nd.report(nd.load(run / "run"), tmp_path / "one")
    assert files(tmp_path / "one") == files(tmp_path / "out")  # in this process as in several


def test_command_options(run, tmp_path, capsys):
    table = str(run / "run" / "3" / "result.csv")
    compare = ["--compare", table, "--compare", str(run / "run")]
    assert main(["report", str(run / "run"), "--out", str(tmp_path / "out"), "--no-pictures", *compare]) == 0
    overview = (tmp_path / "out" / "index.html").read_text()
    assert "result" in overview
    assert "run 3" in overview
    assert capsys.readouterr().out.startswith("48 units, 0 strips")
    compare += ["--compare", str(run / "run" / "0" / "result.csv")]  # another file of the same name
    assert main(["report", str(run / "run"), "--out", str(tmp_path / "out"), "--no-pictures", *compare]) == 0
    overview = (tmp_path / "out" / "index.html").read_text()
    assert all(name in overview for name in ("0/result", "3/result", "run 0", "run 3"))
    twice = [*compare, "--compare", table]
    assert main(["report", str(run / "run"), "--out", str(tmp_path / "out"), "--no-pictures", *twice]) == 1
    assert "rename one" in capsys.readouterr().err
    look = ["--top-images", "3", "--picture-size", "32", "--outline", "--heat-map"]
    more = ["--iou-threshold", "0.01", "--threads", "1", "--workers", "0"]
    assert main(["report", str(run / "run"), "--out", str(tmp_path / "out"), *look, *more]) == 0
    assert "IoU &gt; 0.01" in (tmp_path / "out" / "index.html").read_text()
    assert list((tmp_path / "out" / "layers" / "3" / "pictures").glob("*-heat.jpg"))


def test_command_on_a_table(run, tmp_path, capsys):
    table = tmp_path / "old.csv"
    table.write_bytes((run / "run" / "3" / "result.csv").read_bytes())
    assert main(["report", str(table)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "report" / "index.html")


def test_moved_data(run, tmp_path, capsys):
    """Where the data set has moved, --data says where it is now; another one is refused."""
    moved = tmp_path / "elsewhere"
    (run / "scenes").rename(moved)
    try:
        command = ["report", str(run / "run"), "--out", str(tmp_path / "out")]
        assert main(command) == 1
        assert "scenes" in capsys.readouterr().err
        assert main([*command, "--data", str(moved)]) == 0
    finally:
        moved.rename(run / "scenes")
    assert main(["data", "synth", str(tmp_path / "others"), "--images", "24", "--size", "48", "--seed", "1"]) == 0
    assert main([*command, "--data", str(tmp_path / "others")]) == 1
    assert "is not the data set that was dissected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "run.json"),
        (["nowhere.csv"], "nowhere.csv"),
        (["run", "--data", "run"], "category.csv"),
        (["run", "--picture-size", "5"], "pixels"),
        (["run", "--out", "scenes"], "not a report"),
        (["run", "--compare", "scenes/label.csv"], "label.csv"),
    ],
)
def test_command_errors(run, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(run)
    assert main(["report", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("netdissect-fast: error: ")
    assert words in printed.err
    assert "Traceback" not in printed.err


def test_demo_ends_with_the_reports_path(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path), "--images", "40"]) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert path == tmp_path / "report" / "index.html"
    assert "random weights" in path.read_text()


def test_images_in_memory_stay_as_they_are(tmp_path):
    data = Scenes()
    kept = [Image.new(mode, (40, 30)) for mode in ("RGB", "L", "P")] * 4
    data.image = lambda index: kept[index]
    nd.report(dissection(data=data), tmp_path / "out", picture_size=16, outline=True)
    assert {(image.mode, image.size) for image in kept} == {(mode, (40, 30)) for mode in ("RGB", "L", "P")}


def test_a_concept_without_category_has_no_iou(tmp_path):
    nd.report(dissection(), tmp_path / "out", pictures=False)
    assert "It is in no category" in (tmp_path / "out" / "concepts" / "9.html").read_text()


def test_concepts_of_left_out_categories_have_no_page(run, tmp_path):
    data = nd.Broden(run / "scenes", categories=["texture"])
    layer = nd.score(np.random.default_rng(0).random((24, 3, 4, 4), np.float32), data, quantile="0.1")
    nd.report(Dissection({"a": layer}, {}, data), tmp_path / "out")
    pages = list((tmp_path / "out" / "concepts").glob("[0-9]*.html"))
    assert len(pages) == (data.vocabulary.category >= 0).sum() < len(data.vocabulary)


def test_what_a_killed_build_left_is_removed(tmp_path):
    nd.report(dissection(), tmp_path / "out")
    whole = files(tmp_path / "out")
    (layer_folder(tmp_path / "out") / "pictures" / ".1-mask.jpg.77.part").write_bytes(b"half")
    nd.report(dissection(), tmp_path / "out")
    assert files(tmp_path / "out") == whole


@pytest.mark.parametrize(
    "record",
    [
        {"settings": [1], "data": [1]}, {"settings": "x", "data": "x"}, {"settings": {"input_size": 5}}, {"model": 7},
        {"data": {"source": {"of": {"path": 3}}}}, {"data": {"source": {"kind": "broden", "path": "x" * 5000}}},
    ],
)  # fmt: skip
def test_a_record_that_others_wrote(tmp_path, record):
    result = Dissection(dissection().layers, record)
    nd.report(result, tmp_path / "out", pictures=False)
    with pytest.raises(NetDissectError):
        nd.report(result, tmp_path / "out")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_with_a_main_process_that_is_killed(run, tmp_path):
    """Slow to draw: the data set's images are read through a pipe that nobody writes."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys, time; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "import netdissect_fast as nd\nfrom tests.pages.scenes import Scenes, dissection\n"
        "class Slow(Scenes):\n    def image(self, index):\n        print('drawing', flush=True); time.sleep(60)\n"
        f"if __name__ == '__main__': nd.report(dissection(data=Slow()), {str(tmp_path / 'out')!r}, workers=2)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "drawing\n"
        of_main = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(of_main) >= 2
        process.kill()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(alive(pid) for pid in of_main):
        time.sleep(0.1)
    assert not any(alive(pid) for pid in of_main)


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_build_at_a_time(tmp_path):
    with only_writer(tmp_path / "out"), pytest.raises(OutputError, match="being written by process"):
        nd.report(dissection(), tmp_path / "out")
    nd.report(dissection(), tmp_path / "out")

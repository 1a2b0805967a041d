"""Readers against any bytes: fuzzed files, bombs, pipes, hostile pickles and archives, absurd tables."""

import base64
import bz2
import functools
import gzip
import hashlib
import io
import json
import os
import pathlib
import pickle
import shutil
import struct
import tarfile
import tempfile
import time
import zipfile
import zlib

import hostile
from hostile import Layer, Reader
import numpy as np
import pytest

from projects.suite.suite_zero import from_suite_zero
from zsnas_jax import benchmarks, datasets
from zsnas_jax.benchmarks import nasbench101 as importer101
from zsnas_jax.benchmarks import safe_pickle, tfrecord
from zsnas_jax.datasets import sources
from zsnas_jax.reports import score_report, search_task
from zsnas_jax.runs.selection import select_archs
from zsnas_jax.search_spaces import darts, mobilenetv2, nasbench101, nasbench201
from zsnas_jax.search_spaces.nasbench101 import cells
from zsnas_jax.storage import arrays

CASES, QUICK = 100_000, 200
"""Cases of a reader whose cost is 1, in the slow test and in the one of every run."""
NAMES = [nasbench201.encode(nasbench201.from_index(index)) for index in range(3)]
TFDS = pathlib.Path(__file__).parent / "data" / "tfds"


# The readers, as functions of a path to values that can be compared


def values_of(table):
    return {name: np.asarray(column).tobytes() for name, column in table.columns.items()}, table.space


def read_table(path):
    return values_of(benchmarks.open_benchmark(path))


def one_by_one(source):
    examples = source.examples("train")
    return [(image.tobytes(), image.shape, label) for image, label in map(examples.__getitem__, range(len(examples)))]


def read_pictures(path):
    source = datasets.load(str(path))
    return one_by_one(source), source.num_classes


# Small valid files


def gzipped(data):
    return gzip.compress(data, 1, mtime=0)


def csv201():
    rows = [f"{arch},{90 + i}.25,{60 + i},n{i}" for i, arch in enumerate(NAMES)]
    return "\n".join(["arch,cifar10_test_200,cifar100_valid_12,note", *rows, ""]).encode()


def csv101():
    found = {index: nasbench101.encode(nasbench101.from_index(index)).split(":") for index in (3, 40000)}
    rows = [f"h,{index},0.5,0.9{index},100.5,{bits},{ops}" for index, (bits, ops) in found.items()]
    return "\n".join(["hash,index,val4,test108,train_time_s,adjacency,ops", *rows, ""]).encode()


SUITE_ZERO = b"index,params,zen,plain\n0,0.13,4,1\n7,0.8,-1e8,1\n3,0.7,5e2,\n"


def zipped(members, method=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compresslevel=1) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return stream.getvalue()


def npz_layers(arrays):
    """The whole file, and each of its members with its checksum made right."""
    members = {}
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.asarray(array))
        members[f"{name}.npy"] = stream.getvalue()
    made_of = lambda name: lambda changed: zipped(members | {name: changed})
    return [Layer(zipped(members)), *(Layer(data, made_of(name)) for name, data in members.items())]


def table_arrays():
    header = {"format": 1, "name": "t", "space": "made-up", "source": "s", "checksum": "c"}
    return {"header": json.dumps(header), "column/cifar10_test_200_mean": np.float32([0.5, 0.25, 0.75])}


def picture_arrays():
    image = np.random.default_rng(0).integers(0, 256, (3, 2, 2, 3)).astype(np.uint8)
    return {"x_train": image, "y_train": np.array([0, 1, 1])}


def arrays101(count=40):
    """The arrays of the first cells."""
    columns = [[], [], [], range(9000, 9000 + count)]
    for cell in nasbench101.from_index(np.arange(count)):
        adjacency, ops = nasbench101.encode(cell).split(":")
        matrix = np.array([*adjacency], int).reshape(2 * (ops.count("-") + 1,))
        labels = [nasbench101.TOKENS.index(token) for token in ops.split("-")[1:-1]]
        columns[0].append(len(matrix))
        columns[1].append(sum(1 << int(x + y * (y - 1) // 2) for x, y in zip(*np.nonzero(matrix), strict=True)))
        columns[2].append(functools.reduce(lambda code, label: 3 * code + label, labels, 0))
    return {name: np.array(column, np.int32) for name, column in zip(importer101.ARRAYS, columns, strict=True)}


def nats(index=0, accuracy=90.5):
    run = {"epochs": 12, "seed": 777, "eval_acc1es": {"ori-test@11": np.float64(accuracy), "x-valid@11": 85.25}}
    state = {"arch_index": index, "arch_str": NAMES[index], "dataset_seed": {"cifar10": [777]}}
    return pickle.dumps({"12": state | {"all_results": {("cifar10", 777): run}}}, 4)


def tarred(data, name="NATS/000000.pickle.pbz2", mode="w", **fields):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode, format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for field, value in fields.items():
            setattr(info, field, value)
        tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def analog(accuracies):
    """The pickle of a dict from operations to records of analog-nasbench."""
    text = lambda string: pickle.SHORT_BINUNICODE + bytes([len(string)]) + string.encode()
    record = text("analognasbench.data") + text("Architecture") + pickle.STACK_GLOBAL + pickle.EMPTY_TUPLE
    record += pickle.NEWOBJ + pickle.EMPTY_DICT + text("baseline_accuracy") + pickle.BINFLOAT
    made = pickle.PROTO + b"\4" + pickle.EMPTY_DICT
    for ops, accuracy in accuracies.items():
        made += pickle.MARK + b"".join(pickle.BININT1 + bytes([op]) for op in ops) + pickle.TUPLE
        made += record + struct.pack(">d", accuracy) + pickle.SETITEM + pickle.BUILD + pickle.SETITEM
    return made + pickle.STOP


def masked_crc32c(data):
    """A byte at a time, which is faster for one message than side by side."""
    register = 0xFFFFFFFF
    for byte in data:
        register = CRC_TABLE[(register ^ byte) & 0xFF] ^ register >> 8
    crc = register ^ 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


CRC_TABLE = tfrecord._table().tolist()


def frame(data):
    length = struct.pack("<Q", len(data))
    return length + masked_crc32c(length) + data + masked_crc32c(data)


def record101(index=3):
    cell = nasbench101.from_index(index)
    bits, tokens = nasbench101.encode(cell).split(":")
    names = dict(zip(nasbench101.TOKENS, cells.OPS, strict=True)) | {"in": "input", "out": "output"}
    double = lambda field, value: bytes([field << 3 | 1]) + struct.pack("<d", value)
    last = b"".join(double(field, value) for field, value in enumerate((108.0, 1000.0, 1.0, 0.9, 0.8), 1))
    metrics = b"".join(b"\x0a" + bytes([len(part)]) + part for part in (double(1, 0.0), double(1, 54.0), last))
    params = int(nasbench101.num_params(cell, 10))
    metrics += b"\x10" + bytes([*(params >> shift & 127 | 128 for shift in (0, 7, 14, 21)), params >> 28])
    ops = ",".join(names[token] for token in tokens.split("-"))
    return json.dumps([nasbench101.published_hash(cell), 108, bits, ops, base64.b64encode(metrics).decode()]).encode()


def cifar():
    """A CIFAR-100 archive of two pictures."""
    data = b"".join(bytes([i, 40 + i]) + bytes(range(256)) * 12 for i in range(2))
    return tarred(data, "cifar-100-binary/train.bin", "w:gz")


CIFAR = cifar()
TRANSNAS = b"idx,arch_str,jigsaw_val,room_layout_val\n0,64-41414-1_02_333,91.5,-0.75\n1,64-41414-3_32_132,80,\n"
EPOCHS = {"64-41414-1_02_333": {"jigsaw": {"metrics": {"valid_top1": [50.0, 91.5], "test_top1": [90.0]}}}}
DARTS = darts.encode(darts.NAMED["DARTS_V2"])
COMPACT = str(darts.to_compact(darts.NAMED["DARTS_V2"]))
PUBLISHED = sources.CIFAR_ARCHIVES["cifar100"]._replace(sha256=hashlib.sha256(CIFAR).hexdigest())
ROWS = [record101(3), record101(40000)]
NATS_FILE = "000000.pickle.pbz2"


def compressed(data, pack):
    """The whole file, and what is in it with its checksum made right."""
    return [Layer(pack(data)), Layer(data, pack)]


def tfds(name):
    file = f"cifar10/3.0.2/{name}"
    read = lambda folder: one_by_one(sources.from_tfds("cifar10", folder))
    keeps_kb = 16  # TFDS memoises methods of its builders by the builder, and so keeps each that it has opened
    return Reader(
        f"tfds/{file}",
        [Layer((TFDS / file).read_bytes())],
        read,
        20,
        lambda path: path.parents[2],
        "cifar10",
        keeps_kb=keeps_kb,
    )


READERS = {
    "CSV of NAS-Bench-201": Reader("t.csv", [Layer(csv201())], read_table),
    "CSV of NAS-Bench-201, gzipped": Reader("t.csv.gz", compressed(csv201(), gzipped), read_table, has_checksum=True),
    "CSV of NAS-Bench-101": Reader("u.csv", [Layer(csv101())], read_table),
    "CSV of NAS-Bench-101, gzipped": Reader("u.csv.gz", compressed(csv101(), gzipped), read_table, has_checksum=True),
    "CSV of NAS-Bench-Suite-Zero": Reader("z.csv", [Layer(SUITE_ZERO)], lambda path: values_of(from_suite_zero(path))),
    "npz of a table": Reader("t.npz", npz_layers(table_arrays()), read_table, has_checksum=True),
    "npz of pictures": Reader("p.npz", npz_layers(picture_arrays()), read_pictures, has_checksum=True),
    "npz of NAS-Bench-101": Reader("a.npz", npz_layers(arrays101()), read_table, has_checksum=True),
    "NATS archive, folder": Reader(
        f"nats/{NATS_FILE}",
        compressed(nats(), bz2.compress),
        read_table,
        path=lambda path: path.parent,
        has_checksum=True,
    ),
    "NATS archive, tar": Reader(
        "n.tar", compressed(nats(), lambda data: tarred(bz2.compress(data))), read_table, has_checksum=True
    ),
    "pickle of analog-nasbench": Reader(
        "data.anb",
        [Layer(analog({(0, 1, 2, 3, 4, 0): 61.5, (1,) * 6: 93.25}))],
        lambda path: values_of(benchmarks.from_analog_nasbench(path)),
    ),
    "TFRecord of NAS-Bench-101": Reader(
        "n.tfrecord",
        [Layer(frame(ROWS[0])), Layer(ROWS[0], lambda data: frame(data) + frame(ROWS[1]))],
        read_table,
        has_checksum=True,
    ),
    "CIFAR archive": Reader(
        PUBLISHED.file,
        [Layer(CIFAR)],
        lambda path: one_by_one(sources.from_cifar_archive(path, PUBLISHED, "cifar100")),
        has_checksum=True,
    ),
    "CIFAR archive, its checksum right": Reader(
        PUBLISHED.file,
        compressed(gzip.decompress(CIFAR), gzipped),
        lambda path: [part.tobytes() for part in sources._read_cifar(path, PUBLISHED.members, 2)],
    ),
    "TFDS, records": tfds("cifar10-train.array_record-00000-of-00001"),
    "TFDS, description": tfds("dataset_info.json"),
    "TFDS, features": tfds("features.json"),
    "CSV of TransNAS-Bench-101": Reader("v.csv", [Layer(TRANSNAS)], read_table),
    "CSV of trained DARTS cells": Reader("d.csv", [Layer(f'genotype,val_acc\n"{DARTS}",85.0\n'.encode())], read_table),
    "CSV of NAS-Bench-301": Reader("e.csv", [Layer(f'compact,val_accuracy\n"{COMPACT}",93.25\n'.encode())], read_table),
    "CSV of NATS-Bench's sizes": Reader("s.csv", [Layer(b"c0,c1,c2,c3,c4,c10_acc\n8,16,64,8,24,79.5\n")], read_table),
    "zip of TransNAS-Bench-101": Reader(
        "v.pth",
        compressed(pickle.dumps({"data": {"micro": EPOCHS}}, 2), lambda data: zipped({"a/data.pkl": data})),
        lambda path: values_of(benchmarks.open_benchmark(path, "transnas101_micro")),
        has_checksum=True,
    ),
    "DARTS strings": Reader(
        "darts.txt",
        [Layer(f"{DARTS}\n{COMPACT}\n".encode())],
        lambda path: select_archs(darts.space(), str(path)).tolist(),
    ),
    "architecture strings": Reader(
        "archs.txt",
        [Layer("\n".join(NAMES).encode())],
        lambda path: select_archs(nasbench201.space(), str(path)).tolist(),
    ),
}


@pytest.fixture
def small_table(monkeypatch):
    """A space of 40 cells in the place of NAS-Bench-101's, so that a file of all is small."""
    first = cells.table()._replace(codes=cells.table().codes[:40])
    monkeypatch.setattr(importer101, "table", lambda: first)


@pytest.fixture
def folder(tmp_path):
    """In memory where the system has such a place: to write a small file on a disk takes longer than to read it."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made:
        yield pathlib.Path(made)


def attack(name, folder, cases):
    reader = READERS[name]
    if name.startswith("TFDS"):
        shutil.copytree(TFDS, folder / "tfds")
    start, cases = time.perf_counter(), max(cases // reader.cost, 10)
    counts = hostile.attack(reader, folder, cases)
    print(
        f"\n| {name} | {cases} | {counts['refused']} | {counts['equal']} | {counts['different']} | {time.perf_counter() - start:.0f} |"
    )


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.parametrize("name", READERS)
def test_fuzzed_files_are_read_or_refused(name, folder, small_table):
    attack(name, folder, QUICK)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.parametrize("name", READERS)
def test_many_fuzzed_files_are_read_or_refused(name, folder, small_table):
    attack(name, folder, CASES)


def refused(read, path, message):
    """One line, within seconds, that names the file and says what is wrong."""
    with hostile.within(hostile.SECONDS), pytest.raises((ValueError, OSError), match=message) as caught:
        read(path)
    hostile.check_refusal(caught.value, path.name)


def written(path, data):
    path.write_bytes(data)
    return path


# What is read in any form


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"\n", b"\r"),
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data + b"\n\n",
        lambda data: data + data.splitlines()[-1],  # a row again
    ],
)
@pytest.mark.parametrize("table", [csv201, csv101])
def test_a_csv_is_read_whatever_ends_its_lines_and_begins_it(table, change, tmp_path):
    right = read_table(written(tmp_path / "a.csv", table()))
    assert read_table(written(tmp_path / "b.csv", change(table()))) == right
    assert read_table(written(tmp_path / "c.csv.gz", gzipped(change(table())))) == right


# Absurd tables

HEADING201 = "arch,cifar10_test_200,cifar10_test_12"
ROW201 = f"{NAMES[0]},90.5,80.5"
HEADING101, ROW101 = csv101().decode().splitlines()[:2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{HEADING201}\n{NAMES[0]},100.5,80",
            "line 2: cifar10_test_200 is '100.5': allowed are numbers from 0 to 100",
        ),
        (f"{HEADING201}\n{ROW201}\n{NAMES[1]},-1,80", "line 3: cifar10_test_200 is '-1': allowed are"),
        (f"{HEADING201}\n{NAMES[0]},nan,80", "line 2: cifar10_test_200 is 'nan': allowed are"),
        (f"{HEADING201}\n{NAMES[0]},inf,80", "line 2: cifar10_test_200 is 'inf': allowed are"),
        (f"{HEADING201}\n{NAMES[0]},9_0,80", "line 2: cifar10_test_200 is '9_0': allowed are"),
        (
            f"{HEADING201}\n{NAMES[0]},0.9,80",
            "no value of column cifar10_test_200 is above 1: fractions, where percent",
        ),
        (
            f"{HEADING201}\n{ROW201}\n{NAMES[0]},90.5,80.4",
            "line 3: its architecture stands in an earlier line with other",
        ),
        (f"{HEADING201}\n{ROW201}\n{NAMES[1]},90.5", "line 3 has 2 fields, the first has 3"),
        (f"{HEADING201}\n\n{ROW201}", "line 2 is empty"),
        (f"{HEADING201},cifar10_test_12\n", "two columns have one name: arch, cifar10_test_200"),
        (
            f"{HEADING201}\n{'x' * 200_000},1,2",
            r"is not a CSV file: field larger than field limit \(131072\) \(Error\)",
        ),
        (f"{HEADING201}\n{'x' * 100_000},1,2", "line 2: bad architecture 'xxx"),
        (f'{HEADING201}\n"{ROW201}', "unexpected end of data"),
        (f'{HEADING201}\n"{NAMES[0]}\n",1,2', "has a field of several lines"),
        (f"{HEADING201}\n{ROW201}\0", "it has NUL characters"),
        ("", "is not a CSV file: it is empty"),
        (f"{HEADING101}\n{ROW101.replace('0.5', '50')}", "line 2: val4 is '50': allowed are numbers from 0 to 1"),
        (f"{HEADING101}\n{ROW101.replace('100.5', '-1')}", "line 2: train_time_s is '-1': allowed are"),
        (
            f"{HEADING101}\n{ROW101}\n{ROW101.replace('0.5', '0.4')}",
            "line 3: its architecture stands in an earlier line",
        ),
    ],
)
def test_absurd_tables_are_refused_by_line(text, message, tmp_path):
    refused(benchmarks.open_benchmark, written(tmp_path / "t.csv", text.encode()), message)
    refused(benchmarks.open_benchmark, written(tmp_path / "t.csv.gz", gzipped(text.encode())), message)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_refused(encoding, tmp_path):
    path = written(tmp_path / "t.csv", csv201().decode().encode(encoding))
    refused(benchmarks.open_benchmark, path, "is not a CSV file")
    refused(
        READERS["architecture strings"].read, written(tmp_path / "a.txt", NAMES[0].encode(encoding)), "is not a file of"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,zen\n3,1e300\n", "line 2: zen is '1e300'"),
        ("index,zen\n3,1\n3,2\n", "line 3: its architecture stands in an earlier line"),
        ("index,zen\n3.5,1\n", "line 2: index is '3.5'"),
    ],
)
def test_absurd_values_of_another_implementation_are_refused(text, message, tmp_path):
    refused(from_suite_zero, written(tmp_path / "z.csv", text.encode()), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"column/cifar10_test_200_mean": np.float32([0.5, 1.5, 0])},
            "has values outside 0 to 1, which accuracies are not",
        ),
        (
            {"column/cifar10_test_200_mean": np.float64([0.5, 0.5, 0])},
            r"is float64\[3\]: not float32 of each architecture",
        ),
        ({"header": json.dumps({"format": 2})}, "it is of another format: 1 is needed"),
        ({"header": "[" * 100_000}, r"is not a benchmark .npz: .*\(RecursionError\)"),
        (
            {"header": table_arrays()["header"].replace("made-up", "nasbench201")},
            r"is float32\[3\]: not float32 of each architecture",
        ),
        ({"header": table_arrays()["header"].replace('"t"', "[]")}, "its name is a list, no text"),
    ],
)
def test_absurd_npz_tables_are_refused(changes, message, tmp_path):
    np.savez(tmp_path / "t.npz", **(table_arrays() | changes))
    refused(benchmarks.open_benchmark, tmp_path / "t.npz", message)


@pytest.mark.parametrize(
    ("accuracy", "message"),
    [
        (100.5, "an accuracy is 100.5: allowed are 0 to 100 percent"),
        (float("nan"), "an accuracy is nan"),
        ("9", "an accuracy is '9'"),
    ],
)
def test_absurd_accuracies_of_an_archive_are_refused(accuracy, message, tmp_path):
    data = pickle.dumps(pickle.loads(nats()), 4) if isinstance(accuracy, str) else nats(accuracy=accuracy)
    records = pickle.loads(data)
    if isinstance(accuracy, str):
        records["12"]["all_results"]["cifar10", 777]["eval_acc1es"]["ori-test@11"] = accuracy
    written(tmp_path / NATS_FILE, bz2.compress(pickle.dumps(records, 4)))
    with pytest.raises(ValueError, match=rf"{NATS_FILE}: {message}"):
        benchmarks.open_benchmark(tmp_path)
    if not isinstance(accuracy, str):
        path = written(tmp_path / "data.anb", analog({(1,) * 6: accuracy}))
        refused(benchmarks.from_analog_nasbench, path, message)


def test_a_cell_of_the_tfrecord_has_three_runs_at_most(tmp_path):
    path = written(tmp_path / "n.tfrecord", frame(ROWS[0]) * 4)
    refused(benchmarks.open_benchmark, path, "architecture 3 has more than 3 runs")


# What would take all memory, or for ever

ZEROS = bytes(1 << 24)
MANY = 384  # of them are 6 GB


def test_compressed_bombs_are_refused(tmp_path):
    refused(benchmarks.open_benchmark, written(tmp_path / "t.csv.gz", gzipped(ZEROS) * MANY), "it holds more than")
    heading = gzipped(b"adjacency,ops" + ZEROS) * MANY
    refused(benchmarks.open_benchmark, written(tmp_path / "u.csv.gz", heading), "it holds more than")
    folder = tmp_path / "nats"
    folder.mkdir()
    bomb = bz2.compress(ZEROS) * MANY
    refused(
        lambda path: benchmarks.open_benchmark(path.parent), written(folder / NATS_FILE, bomb), "it holds more than"
    )
    refused(benchmarks.open_benchmark, written(tmp_path / "n.tar", tarred(bomb)), f"{NATS_FILE}: it holds more than")


@pytest.mark.parametrize("declared", [None, 200, 1 << 40])
def test_npz_bombs_are_refused(declared, tmp_path):
    """6 GB, as the file says, or as it denies; and a header that asks for a terabyte."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    header = (
        b"\x93NUMPY\1\0v\0"
        + f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({MANY << 22}, 2, 2, 1)}}".ljust(118).encode()
    )
    part = squeeze.compress(ZEROS) + squeeze.flush(zlib.Z_FULL_FLUSH)
    start = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = start.compress(header) + start.flush(zlib.Z_FULL_FLUSH) + part * (MANY if declared is None else 1) + b"\3\0"
    size = len(header) + MANY * len(ZEROS) if declared is None else declared
    name = b"x_train.npy"
    fields = (20, 0, 8, 0, 33, 0, len(data), 0xFFFFFFFF)
    more = struct.pack("<HHQ", 1, 8, size)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", *fields, len(name), 20)
    extra = struct.pack("<HHQQ", 1, 16, size, len(data))
    central = (
        struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 45, *fields, len(name), len(more), 0, 0, 0, 0, 0) + name + more
    )
    at = len(local) + len(name) + len(extra) + len(data)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(central), at, 0)
    path = written(tmp_path / "p.npz", local + name + extra + data + central + end)
    refused(sources.from_npz, path, "lacks y_train")
    bad = pytest.raises((ValueError, zipfile.BadZipFile), match=r"x_train has [\d,]+ bytes|Bad CRC-32")
    with arrays.open_npz(path) as archive, hostile.within(hostile.SECONDS), bad:
        arrays.read(archive, "x_train", sources.MAX_ARRAY)


def test_records_of_many_lengths_take_little_memory():
    messages = [b"x" * 16_000, *[b""] * 200_000]
    with hostile.within(hostile.SECONDS):
        assert tfrecord.masked_crc32c(messages)[[0, 1]].tolist() == tfrecord.masked_crc32c([messages[0], b""]).tolist()


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.npz", "t.tfrecord", "t.tar"])
def test_pipes_are_refused(name, tmp_path):
    os.mkfifo(tmp_path / name)
    refused(benchmarks.open_benchmark, tmp_path / name, "not a regular file")
    (tmp_path / f"link-{name}").symlink_to(tmp_path / name)
    refused(benchmarks.open_benchmark, tmp_path / f"link-{name}", "not a regular file")


def test_pipes_in_the_place_of_other_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    shutil.copytree(TFDS / "cifar10", tmp_path / "cifar10")
    os.mkfifo(tmp_path / "cifar10" / "pipe.json")
    os.mkfifo(tmp_path / NATS_FILE)
    from_cifar = lambda path: sources.from_cifar_archive(path, PUBLISHED, "cifar100")
    for read in (READERS["architecture strings"].read, sources.from_npz, from_suite_zero, from_cifar):
        refused(read, tmp_path / "pipe", "not a regular file")
    refused(benchmarks.from_analog_nasbench, tmp_path / "pipe", "not a regular file")
    refused(
        lambda path: sources.from_tfds("cifar10", path.parents[1]),
        tmp_path / "cifar10" / "pipe.json",
        "not a regular file",
    )
    refused(lambda path: benchmarks.open_benchmark(path.parent), tmp_path / NATS_FILE, "not a regular file")
    refused(READERS["architecture strings"].read, pathlib.Path("/dev/zero"), "not a regular file")
    refused(READERS["architecture strings"].read, tmp_path, "Is a directory")


def test_a_damaged_data_set_of_tfds_is_not_passed_over(tmp_path):
    shutil.copytree(TFDS / "cifar10", tmp_path / "cifar10")
    written(tmp_path / "cifar10" / "3.0.2" / "dataset_info.json", b"{")
    with pytest.raises(ValueError, match=f"TFDS data set cifar10 in {tmp_path} cannot be read: Failed to"):
        datasets.load("cifar10", str(tmp_path))


# Hostile pickles

PROTO, STOP = pickle.PROTO + b"\4", pickle.STOP


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.EMPTY_TUPLE + (pickle.DUP + pickle.TUPLE2) * 35, "opcode b'2' is not one of plain data"),
        (
            pickle.EMPTY_TUPLE + b"".join(b"\x94h" + bytes([i]) + pickle.TUPLE2 for i in range(35)),
            "a tuple holds more than 64 objects",
        ),
        (pickle.EMPTY_TUPLE + pickle.TUPLE1 * 1_000_000, "a tuple holds more than 64 objects"),
        (pickle.EMPTY_LIST * 200_000 + pickle.APPEND * 199_999, "list"),
        (pickle.NONE + pickle.LONG_BINPUT + b"\xff\xff\xff\xff", "NoneType"),
        (pickle.BINBYTES + b"\xff\xff\xff\xff", "an object has 4294967295 bytes, allowed are"),
        (pickle.BINUNICODE + b"\xff\xff\0\0", "it is cut short"),
        (pickle.LONG1 + b"\xff" + b"\1" * 255, "an object has 255 bytes, allowed are at most 8"),
        (pickle.TUPLE3, "it takes more than there is"),
        (pickle.NONE + pickle.NONE + pickle.SETITEM, "IndexError"),
        (pickle.EMPTY_DICT + pickle.EMPTY_LIST + pickle.NONE + pickle.SETITEM, "unhashable"),
        (pickle.MARK * 200_000, "it goes on behind its end"),
        (pickle.NONE * 3_000_000, "it has more than 3,000,000 opcodes"),
        (pickle.EXT1 + b"\1", "is not one of plain data"),
        (pickle.GLOBAL + b"os\nsystem\n", "it asks for os.system, which is not admitted"),
        (pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.EMPTY_DICT + pickle.BUILD, "a _Maker stands where"),
    ],
)
def test_hostile_pickles_are_refused_at_once(data, message, tmp_path):
    refused(benchmarks.from_analog_nasbench, written(tmp_path / "data.anb", PROTO + data + STOP), message)


def test_numbers_of_numpy_are_read_without_it():
    values = {"a": np.float32(0.5), "b": np.int64(-3), "c": np.bool_(True), "d": np.array([1.5], ">f8")[0], "e": 2**40}
    for protocol in (2, 3, 4, 5):
        data = pickle.dumps(values, protocol)
        if protocol > 2:  # where bytes are objects of their own
            found = safe_pickle.load(io.BytesIO(data), "x")
            assert found == {
                name: getattr(value, "item", lambda value=value: value)() for name, value in values.items()
            }


# Hostile archives


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tarred(b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is of type b'2': allowed are files and folders"),
        (tarred(b"", type=tarfile.LNKTYPE, linkname="x"), "is of type b'1': allowed are"),
        (tarred(b"", type=tarfile.FIFOTYPE), "is of type b'6': allowed are"),
        (tarred(b"", type=tarfile.GNUTYPE_LONGNAME), "is of type b'L': allowed are"),
        (tarred(b"abc")[:-10_000], "it is cut off"),
        (tarred(b"abc")[:1024], "it is cut off: a tar ends with a block of zeros"),
        (tarred(b"abc")[:1024] + b"x" + tarred(b"abc")[1:], "bad checksum"),  # for the library an end
        (tarred(b"abc")[:1024] + tarred(b"abc"), "it holds two files of one architecture"),
        (tarred(b"20 path=" + b"x" * 12, type=tarfile.XHDTYPE), "gives a long name or size"),
        (gzipped(tarred(b"abc")), "is not a tar archive"),
        (tarred(b"abc", "../../etc/passwd"), "holds no NATS-Bench file"),
        (b"", "it is cut off"),
    ],
)
def test_hostile_tars_are_refused(data, message, tmp_path):
    refused(benchmarks.open_benchmark, written(tmp_path / "n.tar", data), message)


def test_a_tar_whose_sizes_lead_back_is_refused(tmp_path):
    header = bytearray(tarred(b"abc"))
    header[124:136] = b"\xff" * 8 + (-512).to_bytes(4, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    refused(benchmarks.open_benchmark, written(tmp_path / "n.tar", bytes(header)), "has -512 bytes, more than are left")


# Architectures that a user names


@pytest.mark.parametrize(
    ("space", "text", "message"),
    [
        (nasbench201, "random:99999999999", "archs 'random:99999999999': COUNT must lie between 1 and 15625"),
        (mobilenetv2, "random:99999999999", "COUNT must lie between 1 and 1000000"),
        (nasbench201, f"random:{'9' * 10_000}", r"archs 'random:99+ \.\.\. 9+': COUNT must lie"),
        (nasbench201, f"0:{'9' * 10_000}", "needed is 0 <= START < STOP <= 15625"),
        (nasbench201, "²:5", "is neither a file nor a selection"),
        (nasbench201, "x" * 5000, "File name too long"),
        (nasbench201, "a\0b\n", r"archs 'a\?b ' is neither a file"),
    ],
)
def test_absurd_selections_are_refused(space, text, message):
    with hostile.within(hostile.SECONDS), pytest.raises((ValueError, OSError), match=message) as caught:
        select_archs(space.space(), text)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x" * 100_000, "line 1: it has 100,000 characters, allowed are at most 1,000"),
        (b"\n\n" + b"x" * 900, r"line 3: bad architecture 'x+ \.\.\. x+': 1 nodes"),
        (b"\xff\xfe", "is not a file of architecture strings"),
        (b"\xef\xbb\xbf", "holds no architecture"),
        (b"a\0b", "it has NUL characters"),
    ],
)
def test_files_of_absurd_strings_are_refused(data, message, tmp_path):
    refused(READERS["architecture strings"].read, written(tmp_path / "a.txt", data), message)


def test_architecture_strings_are_read_whatever_ends_their_lines(tmp_path):
    right = READERS["architecture strings"].read(written(tmp_path / "a.txt", "\n".join(NAMES).encode()))
    for end in ("\r", "\r\n", "\n\n"):
        data = b"\xef\xbb\xbf" + end.join(NAMES).encode()
        assert READERS["architecture strings"].read(written(tmp_path / "b.txt", data)) == right


def test_names_that_are_no_benchmark_are_repeated_in_part():
    for name, message in (("x" * 5000, "File name too long"), ("x" * 250, "unknown benchmark"), ("a\nb\0", "unknown")):
        with pytest.raises(OSError, match=message) as caught:
            benchmarks.open_benchmark(name)
        assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


# Accuracies of another data set


@pytest.mark.parametrize(
    ("dataset", "column", "warning"),
    [
        ("cifar10", None, None),
        ("cifar100", None, None),
        ("noise", None, None),
        ("data/cifar10_subset.npz", None, None),
        (
            "cifar10",
            "cifar100_test_200",
            "pictures of cifar10 are compared with accuracies of cifar100, column cifar100_",
        ),
        (
            "data/cifar100_subset.npz",
            None,
            "pictures of cifar100_subset are compared with accuracies of cifar10, column",
        ),
        ("imagenet16_120", None, "pictures of imagenet16_120 are compared with accuracies of cifar10"),
        ("mine.npz", None, "pictures of mine are compared with accuracies of cifar10"),
    ],
)
def test_accuracies_of_another_data_set_are_a_warning(dataset, column, warning):
    names = ("cifar10_test_200_mean", "cifar100_test_200_mean")
    columns = {name: np.full(nasbench201.NUM_ARCHS, 0.5, np.float32) for name in names}
    table = benchmarks.TabularBenchmark(columns, "nasbench201", "t", "s", "c")
    space, archs = nasbench201.space(), nasbench201.from_index(np.arange(4))
    truth = score_report.find_truth(table, column, space, archs, dataset)
    assert truth.warning == warning if warning is None else truth.warning.startswith(warning)
    run = dict.fromkeys(("first_call_seconds", "scoring_seconds"), 0.0)
    run |= dict.fromkeys(("num_scored", "num_reused", "num_compilations", "num_devices"), 0)
    made = score_report.make_report(space, archs, {}, {}, {}, run, truth)
    assert made["benchmark"]["warning"] == truth.warning
    assert (f"warning: {truth.warning}" in score_report.as_text(made)) == (warning is not None)
    task = search_task.find_truth(table, column, space, dataset)
    assert task.warning == truth.warning

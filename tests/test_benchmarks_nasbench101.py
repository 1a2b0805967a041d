import base64
import gzip
import itertools
import json
import struct

from golden import shared_file
import numpy as np
import pytest

from zsnas_jax import benchmarks
from zsnas_jax.benchmarks import tfrecord
from zsnas_jax.search_spaces import nasbench101
from zsnas_jax.search_spaces.nasbench101.cells import NUM_ARCHS, OPS

INDICES = (3, 40000, 423623)
BUDGETS = (4, 108)


def crc32c(data):
    """CRC-32C a bit at a time."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data):
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def varint(number):
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def evaluation(*values):
    message = b"".join(bytes([field << 3 | 1]) + struct.pack("<d", value) for field, value in enumerate(values, 1))
    return b"\x0a" + varint(len(message)) + message


def measured(index, epochs, run):
    """Validation and test accuracy and seconds that the test files hold."""
    return 0.5 + run / 100 + epochs / 1000, 0.4 + run / 100 + index / 10**6, 10.0 * epochs + run


def row(index, epochs=108, run=0, arch=None, **changes):
    """A record of the published kind."""
    arch = nasbench101.from_index(index) if arch is None else arch
    bits, tokens = nasbench101.encode(arch).split(":")
    names = dict(zip(nasbench101.TOKENS, OPS, strict=True)) | {"in": "input", "out": "output"}
    valid, test, seconds = measured(index, epochs, run)
    metrics = evaluation(0.0, 0.0, 0.1, 0.1, 0.1) + evaluation(epochs / 2, seconds / 2, 0.7, 0.2, 0.2)
    metrics += evaluation(epochs, seconds, 1.0, valid, test)
    metrics += b"\x10" + varint(int(nasbench101.num_params(arch, 10))) + b"\x19" + struct.pack("<d", seconds + 5)
    fields = {
        "hash": nasbench101.published_hash(arch),
        "stated_epochs": epochs,
        "adjacency": bits,
        "operations": ",".join(names[token] for token in tokens.split("-")),
        "metrics": base64.b64encode(metrics).decode(),
    }
    return json.dumps(list((fields | changes).values())).encode()


def write(path, rows):
    path.write_bytes(b"".join(map(frame, rows)))
    return path


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Three cells, two budgets, three runs (the last cell: two), as `nasbench_full.tfrecord` has them."""
    rows = [row(i, e, r) for r, i, e in itertools.product(range(3), INDICES, BUDGETS) if (i, r) != (INDICES[-1], 2)]
    return write(tmp_path_factory.mktemp("nb101") / "nasbench_full.tfrecord", rows)


def test_the_checksum_is_crc32c():
    assert crc32c(b"123456789") == 0xE3069283
    rng = np.random.default_rng(0)
    messages = [rng.bytes(size) for size in (0, 1, 3, 8, 500, 0, 77)]
    assert tfrecord.masked_crc32c(messages).tolist() == [masked(message) for message in messages]
    assert tfrecord.masked_crc32c([]).tolist() == []


def test_records_are_split_wherever_the_buffer_ends(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    records = [rng.bytes(size) for size in (0, 5, 300, 1, 40, 700, 0)]
    write(tmp_path / "x.tfrecord", records)
    for size in (1, 7, 64, 10**6):
        monkeypatch.setattr(tfrecord, "_BUFFER", size)
        assert [*itertools.chain(*tfrecord.read_records(tmp_path / "x.tfrecord"))] == records


def test_messages_are_read_by_their_wire_types():
    message = b"\x08\xac\x02" + b"\x11" + struct.pack("<d", -1.5) + b"\x1a\x03abc"
    assert tfrecord.read_message(message) == [(1, 300), (2, -1.5), (3, b"abc")]
    for cut in (1, 2, 5, len(message) - 1):
        with pytest.raises(ValueError, match="a protobuf message is cut off"):
            tfrecord.read_message(message[:cut])
    with pytest.raises(ValueError, match="protobuf wire type 5: allowed are 0, 1, 2"):
        tfrecord.read_message(b"\x0d\x00\x00\x00\x00")


def test_the_published_file_imports(full):
    table = benchmarks.open_benchmark(full)
    assert table.space == "nasbench101"
    for place, kind in enumerate(("cifar10_valid", "cifar10_test", "train_seconds")):
        for index, epochs in itertools.product(INDICES, BUDGETS):
            runs = 2 if index == INDICES[-1] else 3
            values = [measured(index, epochs, run)[place] for run in range(runs)]
            for run in range(3):
                found = table.columns[f"{kind}_{epochs}_run{run}"][index]
                np.testing.assert_allclose(found, values[run] if run < runs else np.nan, rtol=1e-6)
            np.testing.assert_allclose(table.lookup(f"{kind}_{epochs}", index), np.mean(values), rtol=1e-6)
    assert len(table.columns) == 3 * 2 * 4
    assert all(np.isfinite(c).sum() in (2, 3) and c.shape == (NUM_ARCHS,) for c in table.columns.values())


def test_a_cell_in_another_order_has_the_same_row(tmp_path):
    cells = [nasbench101.decode(f"0110000100010000:in-{ops}-out") for ops in ("c3-mp", "mp-c3")]
    index = int(nasbench101.to_index(cells[0]))
    rows = [row(index, run=run, arch=arch) for run, arch in enumerate(cells)]
    table = benchmarks.open_benchmark(write(tmp_path / "two.tfrecord", rows))
    assert np.flatnonzero(np.isfinite(table.columns["cifar10_test_108_mean"])).tolist() == [index]
    assert np.isfinite(table.columns["cifar10_test_108_run1"][index])


def test_damaged_files_are_refused(full, tmp_path):
    data, copy = full.read_bytes(), tmp_path / "copy.tfrecord"
    second = 16 + struct.unpack_from("<Q", data)[0]
    for cut in (1, 3, 40, len(data) - second - 5, len(data) - second - 13):
        copy.write_bytes(data[:-cut])
        with pytest.raises(ValueError, match=r"copy.tfrecord is truncated: record \d+ is not whole"):
            benchmarks.open_benchmark(copy)
    for place in (second, second + 7, second + 9, second + 100, second + second - 1):  # length, checksums, data
        copy.write_bytes(data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :])
        with pytest.raises(ValueError, match="copy.tfrecord, record 1: its checksum is wrong"):
            benchmarks.open_benchmark(copy)


def test_long_records_are_refused(tmp_path):
    write(tmp_path / "long.tfrecord", [row(3), b" " * (tfrecord.MAX_BYTES + 1)])
    with pytest.raises(ValueError, match="record 1: 16385 bytes, allowed are at most 16384"):
        benchmarks.open_benchmark(tmp_path / "long.tfrecord")


METRICS = evaluation(0.0, 0.0, 0.1, 0.1, 0.1) * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adjacency": "010101000", "operations": "input,maxpool3x3,output"}, "record 1: bad architecture .* upper"),
        ({"operations": "input,conv,output"}, "record 1: bad architecture .* operations 'in-conv-out'"),
        ({"adjacency": " 01"}, "record 1: bad architecture .* adjacency '01'"),
        ({"hash": "0" * 31}, "record 1: hash '0000.*' at 108 epochs: needed are 32 hex digits"),
        ({"stated_epochs": 36}, "record 1: hash .* at 36 epochs: needed are"),
        ({"metrics": "%"}, "record 1: .*base64"),
        ({"metrics": base64.b64encode(METRICS).decode()}, "record 1: 2 evaluations, 3 are needed"),
        (
            {"metrics": base64.b64encode(METRICS + evaluation(1.0, 2.0)).decode()},
            r"record 1: fields \[1, 2\] of .* missing",
        ),
        ({"metrics": base64.b64encode(b"\x0a\x2d").decode()}, "record 1: a protobuf message is cut off"),
        ({"extra": 1}, "record 1: too many values"),
        ({"operations": 3}, "record 1: 'int' object"),
    ],
)
def test_bad_records_are_refused(tmp_path, changes, message):
    write(tmp_path / "bad.tfrecord", [row(3), row(7, **changes), row(9)])
    with pytest.raises(ValueError, match=message):
        benchmarks.open_benchmark(tmp_path / "bad.tfrecord")


def test_records_that_contradict_the_space_are_refused(tmp_path):
    path = tmp_path / "bad.tfrecord"
    params = json.loads(row(3))[-1]
    write(path, [row(7), row(7, run=1, metrics=params)])
    with pytest.raises(ValueError, match="record 1: 3729162 parameters, hash 00017a.*; the cell has"):
        benchmarks.open_benchmark(path)
    write(path, [row(7), row(7, run=1, hash="f" * 32)])
    with pytest.raises(ValueError, match="record 1: .* and a hash is one cell's"):
        benchmarks.open_benchmark(path)
    write(path, [row(7, hash="f" * 32), row(9)])
    with pytest.raises(ValueError, match="its cells are not in the order of their hashes"):
        benchmarks.open_benchmark(path)
    write(path, [])
    with pytest.raises(ValueError, match="holds no records of NAS-Bench-101"):
        benchmarks.open_benchmark(path)


def test_the_arrays_import():
    table = benchmarks.open_benchmark(shared_file("data/nasbench101.npz"))
    values = table.lookup("cifar10_test_108", np.arange(NUM_ARCHS))
    assert table.space == "nasbench101" and list(table.columns) == ["cifar10_test_108_single"]
    assert values.dtype == np.float32 and values.max() == pytest.approx(0.9466, abs=1e-4)
    assert values[0] == pytest.approx(9197 / 9984)


def test_arrays_of_other_cells_are_refused(tmp_path):
    arrays = {name: np.zeros(5, np.int32) + 7 for name in benchmarks.nasbench101.ARRAYS}
    np.savez(tmp_path / "few.npz", **arrays)
    with pytest.raises(ValueError, match="its cells are not the 423624 published rows in their order"):
        benchmarks.open_benchmark(tmp_path / "few.npz")
    with pytest.raises(ValueError, match="is not an .npz of num_vertices, edge_bits, label_code, test_correct_of_9984"):
        benchmarks.nasbench101.from_arrays(__file__)


def test_the_csv_imports_and_agrees_with_the_arrays():
    table = benchmarks.open_benchmark(shared_file("data/nasbench101_valid_30001.csv.gz"))
    there = np.flatnonzero(np.isfinite(table.columns["cifar10_valid_12_single"]))
    assert len(there) == 30001 and table.columns["train_seconds_108_single"][0] == pytest.approx(1768.98)
    assert set(table.columns) == {f"{name}_single" for name in benchmarks.nasbench101.CSV_COLUMNS.values()}
    arrays = benchmarks.open_benchmark(shared_file("data/nasbench101.npz"))
    ours, theirs = (t.lookup("cifar10_test_108", there) for t in (table, arrays))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


HEADER = "hash,index,val4,test108,adjacency,ops\n"


def test_a_csv_may_be_short_and_have_gaps(tmp_path):
    cell = nasbench101.to_index(nasbench101.decode("010001000:in-mp-out"))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(f"{HEADER}x,{cell},,0.9,010001000,in-mp-out\n".encode()))
    table = benchmarks.open_benchmark(tmp_path / "t.csv.gz")
    assert table.lookup("cifar10_test_108", cell) == np.float32(0.9)
    assert np.isnan(table.columns["cifar10_valid_4_single"]).all()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (f"{HEADER}x,0,0.1,0.9,010001000,in-mp-out\n".encode(), "line 2: index '0', but the cell has"),
        (f"{HEADER}x,,0.1,0.9,010001000,in-mp-out\n".encode(), "line 2: index '', but the cell has"),
        (f"{HEADER}x,0,0.1,0.9,010000000,in-mp-out\n".encode(), "line 2: bad architecture .* no path joins"),
        (b"adjacency,ops,accuracy\n", "lacks columns adjacency, ops, or one of val4"),
        (b"adjacency,ops,val4\n\xff", "is not a CSV file"),
    ],
)
def test_bad_csv_files_are_refused(tmp_path, contents, message):
    (tmp_path / "t.csv").write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        benchmarks.open_benchmark(tmp_path / "t.csv")


def test_a_table_of_the_space_survives_npz(full, tmp_path):
    table = benchmarks.open_benchmark(full)
    table.save(tmp_path / "table.npz")
    again = benchmarks.open_benchmark(tmp_path / "table.npz")
    assert (again.space, again.checksum, again.source) == ("nasbench101", table.checksum, table.source)
    for name, values in table.columns.items():
        np.testing.assert_array_equal(again.columns[name], values)

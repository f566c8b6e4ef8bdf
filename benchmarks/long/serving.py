"""An exported model under load: kills, hot swaps, thousands of requests, hostile ones, a large scan.

    python benchmarks/long/serving.py [NAME …]          all on two quiet cores: about an hour

NAME: same, wire, warm, kills, swaps, load, hostile, large; without any, all of them. `--kills 50 --swaps 20 --requests
2000 --hostile 500 --starts 5` are their numbers.

The server is the tests' fixture in a process of its own (polling_server.py): real gRPC and HTTP, TensorFlow's own
`saved_model.load`, versions polled every 0.05 s. It is not TensorFlow Serving, whose memory and speed are its own; it
runs the same graph on the same kernels, and Python beside it. It runs with MALLOC_ARENA_MAX=2 (`--arenas N`, 0: as
many as glibc likes), since with more arenas freed memory stays with each. Memory is that of the process (VmHWM, which
is reset where a measurement begins). Networks are untrained.

Prints a table and, last, `name figure goal` lines; ends with 1 if a goal is missed.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import contextlib
import gzip
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np

import mcc_keras as mk
from mcc_keras.serving.address import parse_address, read_credentials
from mcc_keras.serving.over_grpc import GrpcServer
from mcc_keras.serving.over_rest import RestServer
from mcc_keras.serving.refusals import Refusal

SIDE, CLIENTS, SECONDS = 32, 4, 300
SERVER = Path(__file__).with_name("polling_server.py")
EXPORTING = """
import sys
import mcc_keras as mk
import mcc_keras.serving.saved_model
print("ready", flush=True)
sys.stdin.readline()
mk.export_saved_model(*sys.argv[1:])
print("done", flush=True)
"""


class Server:
    """A server in a process of its own, for a `with` block.

    Args:
        folder: The served model's folder.
        arenas: MALLOC_ARENA_MAX, or 0.
    """

    def __init__(self, folder, *, arenas=2):
        environment = {**os.environ, **({"MALLOC_ARENA_MAX": str(arenas)} if arenas else {})}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, SERVER, str(folder)], env=environment, **pipes)
        self.said = []
        for line in self.process.stdout:
            self.said.append(json.loads(line))
            if "grpc" in self.said[-1]:
                break
        else:
            raise SystemExit(f"the server did not start: {self.said}")
        threading.Thread(target=self._listen, daemon=True).start()
        self.address, self.url = self.said[-1]["grpc"], self.said[-1]["rest"]

    def _listen(self):
        self.said += (json.loads(line) for line in self.process.stdout)

    def numbers(self, word):
        return [each[word] for each in list(self.said) if word in each]

    def client(self, address=None):
        place = parse_address(address or self.address)
        return (RestServer if place.is_rest else GrpcServer)(place, read_credentials(place), model_name="segmenter")

    @property
    def alive(self):
        return self.process.poll() is None

    def peak_bytes(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM")))

    def reset_peak(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def write_run(folder, *, seed=0, window=None):
    """Write a finished run that nobody trained; return its path."""
    import keras

    from mcc_keras.runs.data import RunData
    from mcc_keras.runs.run import MODEL, RunResult, finish_run, start_run
    from mcc_keras.segmentation.fingerprint import fingerprint_run

    keras.utils.set_random_seed(seed)
    task, shape = mk.Task(channel_names=("image",)), (SIDE, SIDE, SIDE, 1)
    data = RunData(work="nowhere", manifest_sha256="0" * 64, task=task, image_shape=shape, cases={})
    box = mk.Preprocessing(size="native" if window else SIDE)
    if window:
        layers = keras.layers
        inputs = keras.Input((None, None, None, 1))
        features = layers.Conv3D(4, 3, padding="same", activation="tanh")(inputs)
        model = keras.Model(inputs, layers.Conv3D(1, 3, padding="same", activation="sigmoid")(features))
    else:
        model = mk.DenseVNet(shape, 1, width=0.25)
    run = start_run(folder, recipe=mk.Recipe(epochs=1, window=window), data=data, preprocessing=box)
    model.save(run / MODEL)
    numbers = {"best_epoch": 1, "best_value": 0.5, "steps": 1, "seconds": 1.0, "parameters": model.count_params()}
    finish_run(run, RunResult(**numbers, speed={}, versions={}))
    fingerprint_run(run)
    return run


def write_scan(path, shape, *, seed=0, dtype=np.int16):
    """Write smooth noise, which compresses about as well as a scan."""
    rng = np.random.default_rng(seed)
    voxels = rng.normal(0, 20, shape).astype(np.float32) + 200 * np.sin(np.arange(shape[0]) / 9)[:, None, None]
    nib.save(nib.Nifti1Image(voxels.astype(dtype), np.diag([0.8, 0.8, 2.5, 1])), path)
    return path


def mask_limit(shape):
    return 2 * int(np.prod(shape)) + (1 << 20)


class Bench:
    """All measurements; each returns (name, figure, goal, whether it is met) for its claims.

    Args:
        folder: For everything that is written.
        options: The numbers.
    """

    def __init__(self, folder, options):
        self.folder, self.options, self.draw = folder, options, random.Random(options.seed)
        self.run = write_run(folder / "run", seed=1)
        self.served = mk.export_saved_model(self.run, folder / "served").parent
        self.scans = [
            write_scan(folder / f"scan{n:02}.nii.gz", (30 + 2 * n, 50 - n, 24 + n % 7), seed=n) for n in range(20)
        ]
        self.files = [path.read_bytes() for path in self.scans]

    def server(self, folder=None):
        return Server(folder or self.served, arenas=self.options.arenas)

    def ask(self, client, number):
        """Return the mask of a scan, the fingerprint, and the seconds of the request."""
        begin = time.perf_counter()
        found = client.segment_bytes([self.files[number]], SECONDS, largest_mask=1 << 24)
        return *found, time.perf_counter() - begin

    # ---- the same mask --------------------------------------------------------------------------------------------

    def same(self):
        """Compare the masks of a scan by every way."""
        import tensorflow as tf

        scan, out = self.scans[7], self.folder / "same"
        masks = {"segment": mk.segment(self.run, scan, out / "segment.nii")}
        with self.server() as server:
            for name, place in (("gRPC", server.address), ("REST", server.url)):
                masks[name] = mk.segment_remote(place, scan, out / f"{name}.nii")
        found = {name: np.asarray(nib.load(path).dataobj) for name, path in masks.items()}
        signatures = tf.saved_model.load(str(self.served / "1")).signatures
        volume = mk.read_volume(scan)
        image, affine = (np.asarray(array, np.float32) for array in (volume.array[..., None], volume.affine))
        found["serving_default"] = signatures["serving_default"](image=image, affine=affine)["mask"].numpy()
        answer = signatures["serving_bytes"](scan_bytes=tf.constant([[scan.read_bytes()]]))["mask_bytes"].numpy()[0]
        found["serving_bytes"] = np.asarray(nib.Nifti1Image.from_bytes(answer).dataobj)
        equal = sum(np.array_equal(found["segment"], mask) for mask in found.values())
        share = found["segment"].mean()
        print(f"same mask: {', '.join(found)}; {share:.0%} of the voxels are foreground")
        return [("ways_with_the_same_mask", equal, len(found), equal == len(found) and 0 < share < 1)]

    # ---- bytes on the wire ----------------------------------------------------------------------------------------

    def wire(self):
        """Count the bytes that a client sends, through a proxy that counts them."""
        scan = write_scan(self.folder / "wire.nii.gz", (128, 128, 60))
        size, rows = scan.stat().st_size, []
        with self.server() as server:
            for name, place, goal in (("grpc", server.address, 1.05), ("rest", server.url, 1.4)):
                host, port = place.rpartition("/")[2].split(":")
                with counting_proxy(host, int(port)) as (own, sent):
                    client = server.client(place.replace(f":{port}", f":{own}"))
                    client.segment_bytes([scan.read_bytes()], SECONDS, largest_mask=mask_limit((128, 128, 60)))
                rows.append((f"wire_bytes_{name}", sent[0] / size, goal, sent[0] <= goal * size))
        print(f"wire: a request for a file of {size:,} bytes, headers and framing included")
        return rows

    # ---- warm-up --------------------------------------------------------------------------------------------------

    def warm(self):
        """Compare the first request to a new server with warm ones."""
        ratios = []
        for _ in range(self.options.starts):
            with self.server() as server:
                client = server.client()
                client.signatures(SECONDS)  # a client asks this before its first scan
                seconds = [self.ask(client, 7)[-1] for _ in range(31)]
                ratios.append(seconds[0] / float(np.median(seconds[1:])))
        print(f"warm-up: first / median of 30 in {len(ratios)} starts: {', '.join(f'{r:.2f}' for r in ratios)}")
        ratio = float(np.median(ratios))
        return [("first_request", ratio, 1.2, ratio <= 1.2)]

    # ---- kills ----------------------------------------------------------------------------------------------------

    def kills(self):
        """Kill exports at random moments while a server polls the folder."""
        folder = self.folder / "killed"
        shutil.copytree(self.served, folder)
        with self.server(folder) as server, exporter(self.run, folder) as first:
            begin = time.perf_counter()
            hand_over(first)
            whole = time.perf_counter() - begin
            written = 0
            for number in range(self.options.kills):
                before = parts_in(folder)
                with exporter(self.run, folder) as process:
                    process.stdin.write("\n")
                    process.stdin.flush()
                    if number % 2:  # the other half, only once there are files
                        wait_for(lambda before=before: parts_in(folder) - before, seconds=5 * whole)
                        written += 1
                        time.sleep(self.draw.uniform(0, 0.4 * whole))
                    else:
                        time.sleep(self.draw.uniform(0, 1.1 * whole))
                    process.kill()
            versions = [path for path in folder.iterdir() if path.name.isdigit()]
            left = parts_in(folder)
            with exporter(self.run, folder) as last:
                hand_over(last)
            final = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
            wait_for(lambda: final in server.numbers("loaded") + server.numbers("failed"), seconds=600)
            failed, alive = server.numbers("failed"), server.alive
            loaded = len(server.numbers("loaded"))
        after = parts_in(folder)
        print(
            f"kills: an export takes {whole:.1f} s; {self.options.kills} kills, {written} of them while files were"
            f" written, left {len(versions)} versions and {len(left)} parts; the next export left {len(after)} parts;"
            f" the server loaded {loaded} versions, {final} the last"
        )
        whole_end = final in server.numbers("loaded") and not after and alive
        return [("failed_loads", len(failed), 0, not failed and whole_end)]

    # ---- hot swaps ------------------------------------------------------------------------------------------------

    def swaps(self):
        """Publish other versions under the requests of four clients."""
        from mcc_keras.serving.versions import next_version

        other = mk.export_saved_model(write_run(self.folder / "other", seed=2), self.folder / "served2")
        folder, sources = self.folder / "swapped", (self.served / "1", other)
        shutil.copytree(self.served, folder)
        expected = {}
        for source in sources:
            with self.server(source.parent) as server:
                answers = [self.ask(server.client(), number) for number in range(4)]
                expected[answers[0][1]] = [mask for mask, *_ in answers]
        wrong, failures, answered, stop = [], [], [], threading.Event()

        def ask_on(client, number):
            while not stop.is_set():
                try:
                    mask, text, seconds = self.ask(client, number)
                except Exception as error:
                    failures.append(error)
                    continue
                answered.append((text, seconds))
                if expected.get(text, {number: None})[number] != mask:
                    wrong.append(text)

        with self.server(folder) as server, ThreadPoolExecutor(CLIENTS) as pool:
            for number in range(CLIENTS):
                pool.submit(ask_on, server.client(), number)
            try:
                for number in range(self.options.swaps):
                    with next_version(folder) as (aside, path):
                        shutil.copytree(sources[(number + 1) % 2], aside)
                    version = int(path.name)
                    wait_for(lambda version=version: version in server.numbers("loaded"), seconds=600)
                    time.sleep(0.5)
            finally:
                stop.set()
            failed = server.numbers("failed")
        both = [sum(text == name for text, _ in answered) for name in expected]
        print(
            f"swaps: {self.options.swaps} under {CLIENTS} clients, {len(answered)} answers ({both[0]} of one version,"
            f" {both[1]} of the other), {len(failures)} failures, {len(wrong)} wrong masks; slowest"
            f" {max(seconds for _, seconds in answered):.2f} s"
        )
        differ = len(expected) == 2 and len({tuple(masks) for masks in expected.values()}) == 2
        good = differ and not failures and not failed and min(both) > 0 and sum(both) == len(answered)
        return [
            ("failed_requests_in_swaps", len(failures), 0, good),
            ("wrong_answers_in_swaps", len(wrong), 0, not wrong),
        ]

    # ---- load -----------------------------------------------------------------------------------------------------

    def load(self):
        """Ask again and again, for scans of twenty sizes."""
        requests, failures, seconds = self.options.requests, [], {}
        marks = [int(share * requests) for share in (0.1, 0.35, 0.75, 1)]
        with self.server() as server:
            clients = [server.client() for _ in range(CLIENTS)]
            expected = [self.ask(clients[0], number)[0] for number in range(20)]

            def ask(index):
                try:
                    mask, _, taken = self.ask(clients[index % CLIENTS], index % 20)
                except Refusal as refusal:
                    failures.append(refusal)
                    return None
                if mask != expected[index % 20]:
                    failures.append(index)
                return taken

            def spread(first, last, number):
                with ThreadPoolExecutor(number) as pool:
                    return [taken for taken in pool.map(ask, range(first, last)) if taken is not None]

            for number in (1, 2):
                seconds[number] = spread(0, max(20, requests // 10), number)
            begin, seconds[4], peaks, first = time.perf_counter(), [], [], 0
            for mark in marks:
                server.reset_peak()
                seconds[4] += spread(first, mark, CLIENTS)
                peaks.append(server.peak_bytes())
                first = mark
            rate = requests / (time.perf_counter() - begin)
        names = ", ".join(f"{bytes_ / 2**20:.0f}" for bytes_ in peaks)
        print(f"load: {requests} requests by {CLIENTS} clients, {rate:.1f} a second; peak RSS {names} MiB in the parts")
        print(f"      ending at {', '.join(map(str, marks))}; MALLOC_ARENA_MAX={self.options.arenas or 'unset'}")
        for number, taken in seconds.items():
            p50, p99 = (1000 * np.percentile(taken, each) for each in (50, 99))
            print(f"      {number} clients: p50 {p50:.0f} ms, p99 {p99:.0f} ms of {len(taken)}")
        growth = peaks[3] / peaks[1]
        return [
            ("failed_requests", len(failures), 0, not failures),
            ("memory_growth", growth, 1.02, growth <= 1.02),
        ]

    # ---- hostile --------------------------------------------------------------------------------------------------

    def hostile(self):
        """Send what no server should take; each must be refused by a code, and the next scan segmented."""
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        files, tensors = hostile_files(self.files[-1], self.draw), hostile_tensors(tf)
        kinds = [*(("gRPC", name) for name in files), *(("REST", name) for name in files)]
        kinds += [("tensor", name) for name in tensors]
        codes, wrong = {}, []
        with self.server() as server, grpc.insecure_channel(server.address) as channel:
            client, rest = server.client(), server.client(server.url)
            expected = self.ask(client, 7)[0]
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            before = server.peak_bytes()
            server.reset_peak()
            for number in range(self.options.hostile):
                way, name = kinds[number % len(kinds)]
                try:
                    if way == "tensor":
                        signature, inputs = tensors[name]
                        request = predict_pb2.PredictRequest()
                        request.model_spec.name, request.model_spec.signature_name = "segmenter", signature
                        for key, tensor in inputs.items():
                            request.inputs[key].CopyFrom(tensor)
                        stub.Predict(request, timeout=SECONDS)
                    else:
                        asked = client if way == "gRPC" else rest
                        asked.segment_bytes([files[name](number)], SECONDS, largest_mask=1 << 24)
                    code = "OK"
                except Refusal as refusal:
                    code = refusal.code
                except grpc.RpcError as error:
                    code = error.code().name
                codes[code] = codes.get(code, 0) + 1
                if code != "INVALID_ARGUMENT":
                    wrong.append((way, name, code))
            peak = server.peak_bytes()
            alive = server.alive and self.ask(client, 7)[0] == expected
        more = (peak - before) / 2**30
        print(f"hostile: {sum(codes.values())} requests of {len(kinds)} kinds: {codes}; {sorted(set(wrong))}")
        print(f"         peak RSS {before / 2**30:.2f} GiB before, {peak / 2**30:.2f} GiB in them; alive: {alive}")
        return [
            ("hostile_requests_without_a_typed_error", len(wrong), 0, not wrong and alive),
            ("hostile_memory_gib", more, 2.5, more <= 2.5),
        ]

    # ---- a large scan ---------------------------------------------------------------------------------------------

    def large(self):
        """Segment a CT of 512 × 512 × 300 in windows."""
        window = mk.Window(size=96, overlap=0.25)
        run = write_run(self.folder / "windows", seed=1, window=window)
        served, shape = mk.export_saved_model(run, self.folder / "served3").parent, (512, 512, 300)
        scan = write_scan(self.folder / "large.nii.gz", shape)
        with self.server(served) as server:
            begin = time.perf_counter()
            mask = mk.segment_remote(server.address, scan, self.folder / "large_mask.nii.gz", timeout_seconds=1800)
            seconds, peak = time.perf_counter() - begin, server.peak_bytes() / 1e9
        share = float(np.mean(np.asarray(nib.load(mask).dataobj) > 0))
        print(
            f"large: {' × '.join(map(str, shape))} of int16, a file of {scan.stat().st_size / 1e6:.0f} MB, in"
            f" {seconds:.0f} s with reading and writing; {share:.0%} foreground"
        )
        return [("served_ct_gb", peak, 8, peak < 8)]


def parts_in(folder):
    """Return the names of what is being written, or was when its writer was killed."""
    return {path.name for path in folder.iterdir() if ".aside." in path.name}


def hand_over(process):
    """Have an exporter export, and wait for its end."""
    printed, _ = process.communicate("\n")
    if process.returncode or not printed.endswith("done\n"):
        raise SystemExit(f"the export ended with {process.returncode}")


@contextlib.contextmanager
def exporter(run, folder):
    """Yield a process that exports when it is given a line."""
    command = [sys.executable, "-c", EXPORTING, str(run), str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        process.stdout.readline()
        yield process


def wait_for(happened, *, seconds):
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise SystemExit(f"it did not happen within {seconds:.0f} s")
        time.sleep(0.01)


@contextlib.contextmanager
def counting_proxy(host, port):
    """Yield a port that leads to another, and a list with the number of bytes that have gone there."""
    sent = [0]

    def pump(source, target, count):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sent[0] += count * len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((host, port))
                for source, target, count in ((near, far, 1), (far, near, 0)):
                    threading.Thread(target=pump, args=(source, target, count), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], sent
        listener.shutdown(socket.SHUT_RDWR)


def hostile_files(packed, draw):
    """Return name → function of a number that gives a file which no reader should take."""
    plain = gzip.decompress(packed)
    header = nib.Nifti1Header(plain[:348])

    def with_header(*, body=plain[348:], **fields):
        changed = header.copy()
        for name, value in fields.items():
            changed[name] = value
        return changed.binaryblock + body

    shape = [3, *header.get_data_shape(), 1, 1, 1, 1]
    voxels = np.full(header.get_data_shape(), 7, "<f4")
    voxels[3, 4, 5] = np.nan
    nan = with_header(datatype=16, bitpix=32, body=bytes(4) + voxels.tobytes("F"))
    claim = with_header(dim=[3, 2048, 2048, 512, 1, 1, 1, 1])
    bomb, liar = bombs(plain, honest=True), bombs(plain, honest=False)
    return {
        "wrong rank": lambda n: gzip.compress(with_header(dim=[4, *shape[1:4], 3, 1, 1, 1], body=3 * plain[348:])),
        "NaN": lambda n: gzip.compress(nan),
        "infinite": lambda n: nan.replace(np.float32("nan").tobytes(), np.float32("inf").tobytes()),
        "complex": lambda n: with_header(datatype=32, bitpix=64, body=4 * plain[348:]),
        "cut gzip": lambda n: packed[: draw.randrange(20, len(packed) - 1)],
        "cut file": lambda n: plain[: draw.randrange(1, len(plain) - 1)],
        "damaged gzip": lambda n: damaged(packed, draw),
        "honest bomb": lambda n: bomb,
        "lying bomb": lambda n: liar if n % 5 == 3 else damaged(packed, draw),
        "claim of 4 GiB": lambda n: claim,
        "packed claim of 4 GiB": lambda n: gzip.compress(claim),
        "random bytes": lambda n: draw.randbytes(draw.randrange(1, 100_000)),
        "random bytes as gzip": lambda n: b"\x1f\x8b\x08\x00" + draw.randbytes(draw.randrange(1, 100_000)),
        "empty": lambda n: b"",
        "singular affine": lambda n: with_header(sform_code=1, qform_code=0, srow_x=[0, 0, 0, 0]),
    }


def damaged(packed, draw):
    """Return a gzip stream with one byte changed behind its header, where no voxel stays what it was."""
    at = draw.randrange(len(packed) // 2, len(packed) - 9)
    return packed[:at] + bytes([packed[at] ^ (1 << draw.randrange(8))]) + packed[at + 1 :]


def bombs(plain, *, honest):
    """Return a gzip stream of 4 GiB of zeros behind a small scan, whose end says so or gives the size of the scan."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    number = 4096
    size = (len(plain) + (number << 20)) % (1 << 32) if not honest else len(plain) + (1 << 20)
    number = 1 if honest else number
    checksum = zlib.crc32(plain)
    for _ in range(number):
        checksum = zlib.crc32(bytes(1 << 20), checksum)
    end = packer.flush(zlib.Z_FINISH)
    trailer = checksum.to_bytes(4, "little") + size.to_bytes(4, "little")
    return b"\x1f\x8b\x08\x00\0\0\0\0\0\xff" + start + number * block + end + trailer


def hostile_tensors(tf):
    """Return name → (signature, inputs) that do not fit."""
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    proto, eye = tf.make_tensor_proto, np.eye(4, dtype=np.float32)
    image = np.ones((6, 5, 4, 1), np.float32)
    shape = tf.TensorShape((1024, 1024, 1024, 1)).as_proto()
    claim = TensorProto(dtype=tf.float32.as_datatype_enum, tensor_shape=shape, tensor_content=bytes(64))

    def voxels(array, affine=eye):
        return "serving_default", {"image": proto(array), "affine": proto(affine)}

    return {
        "no channels": voxels(image[..., 0]),
        "a batch": voxels(image[None]),
        "two channels": voxels(np.repeat(image, 2, -1)),
        "float64": voxels(image.astype(np.float64)),
        "integers": voxels(image.astype(np.int32)),
        "an affine of 3 rows": voxels(image, eye[:3]),
        "a claim of 4 GiB": ("serving_default", {"image": claim, "affine": proto(eye)}),
        "no affine": ("serving_default", {"image": proto(image)}),
        "floats as files": ("serving_bytes", {"scan_bytes": proto(image[:, :, 0, 0])}),
        "files without channels": ("serving_bytes", {"scan_bytes": proto([b"a"])}),
        "three files": ("serving_bytes", {"scan_bytes": proto([[b"a", b"b", b"c"]])}),
        "no such signature": ("serving_other", {"scan_bytes": proto([[b"a"]])}),
        "another box": ("serving_preprocessed", {"box": proto(image)}),
    }


NAMES = ("same", "wire", "warm", "kills", "swaps", "load", "hostile", "large")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    numbers = {"kills": 50, "swaps": 20, "requests": 2000, "hostile": 500, "starts": 5, "arenas": 2, "seed": 0}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    print(mk.describe_environment().header(), end="\n\n", flush=True)
    claims = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options)
        for name in options.names or NAMES:
            claims += getattr(bench, name)()
            sys.stdout.flush()
    print()
    for name, figure, goal, _ in claims:
        print(f"{name} {figure:.4g} {goal}")
    missed = [name for name, *_, met in claims if not met]
    if missed:
        print(f"missed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())

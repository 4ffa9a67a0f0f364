"""A small Hub on 127.0.0.1: what `huggingface_hub` 2 asks for when a model is pushed and loaded, with faults on order.

It keeps commits as whole trees in memory, refuses what the Hub refuses (a commit of a file whose content was never
uploaded, a parent that has moved, a card with a path in it, a stranger), and looks at every commit with `watch`.
"""

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator

import yaml

LARGE = (".safetensors", ".bin", ".png", ".model")
"""Which names the Hub stores as large files, whatever they weigh."""
TOKEN, OTHER_TOKEN, READ_TOKEN = "hf_" + "a" * 30, "hf_" + "b" * 30, "hf_" + "c" * 30


@dataclasses.dataclass(frozen=True)
class Blob:
    """A file's content."""

    content: bytes
    large: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """As git names it; of a large file that of the pointer."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        content = pointer.encode() if self.large else self.content
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def entry(self, path: str) -> dict:
        large = {"lfs": {"oid": self.sha256, "size": len(self.content), "pointerSize": 130}} if self.large else {}
        return {"type": "file", "oid": self.oid, "size": len(self.content), "path": path, **large}


@dataclasses.dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    tree: dict[str, Blob]


@dataclasses.dataclass
class Repo:
    private: bool
    commits: dict[str, Commit] = dataclasses.field(default_factory=dict)
    branches: dict[str, str] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    pulls: list[str] = dataclasses.field(default_factory=list)
    stored: dict[str, bytes] = dataclasses.field(default_factory=dict)
    """Large files that were uploaded, by their SHA-256."""

    def at(self, revision: str) -> Commit | None:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        pull = re.fullmatch(r"refs/pr/(\d+)", revision)
        if pull and int(pull[1]) <= len(self.pulls):
            oid = self.pulls[int(pull[1]) - 1]
        return self.commits.get(oid)

    def add(self, parent: str | None, title: str, tree: dict[str, Blob]) -> Commit:
        named = json.dumps([parent, title, len(self.commits), sorted((path, blob.oid) for path, blob in tree.items())])
        commit = Commit(hashlib.sha1(named.encode()).hexdigest(), parent, title, tree)
        self.commits[commit.oid] = commit
        return commit


@dataclasses.dataclass
class Fault:
    """What goes wrong, the next `times` times that a request fits.

    Attributes:
        request: a pattern for "METHOD /path".
        kind: a status; "hang up" (nothing is done and nothing answered), "cut" (the same in the middle of what is sent), or
            "lost" (it is done, and the answer does not arrive), "wait" (nothing until `go_on` is set, nor then).
        times: how often; meanwhile counted down.
        skip: how many requests pass before.
        headers: of the answer.
    """

    request: str
    kind: int | str
    times: int = 1
    skip: int = 0
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


def incomplete(tree: dict[str, bytes]) -> str | None:
    """What a branch lacks to be one version of one model: its weights, and those that its manifest was written with."""
    weights = {path: content for path, content in tree.items() if path.endswith(".safetensors")}
    members = json.loads(tree.get("config.json", b"{}")).get("members")
    if members is not None:
        named = {f"{member['folder']}/model.safetensors" for member in members if "folder" in member}
        if named != set(weights):
            return f"an ensemble of {sorted(named)} with {sorted(weights)}"
    elif "config.json" in tree:
        index = json.loads(tree.get("model.safetensors.index.json", b"{}"))
        named = set(index.get("weight_map", {}).values()) or {"model.safetensors"}
        if not named <= set(weights):
            return f"a config without {sorted(named - set(weights))}"
        if {path for path in weights if path.startswith("model")} != named:
            return f"weights of two versions: {sorted(weights)}"
    if "adapter_config.json" in tree and "adapter_model.safetensors" not in weights:
        return "an adapter without its weights"
    known = json.loads(tree.get("compression.json", b"{}")).get("weights")
    there = {path: hashlib.sha256(content).hexdigest() for path, content in weights.items()}
    return "the manifest is of other weights" if known is not None and known != there else None


class Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "", body: dict | None = None) -> None:
        self.status, self.code, self.message, self.body = status, code, message, body or {"error": message}


class LocalHub:
    """The server and what it holds.

    Attributes:
        url: for HF_ENDPOINT.
        users: token -> name, organizations (name -> role in it) and the token's role.
        repos: by id.
        collections: slug -> its title and items.
        faults: still to come.
        requests: all that arrived, as "METHOD /path".
        broken: what `watch` found wrong with a commit, as (branch, sentence).
        uploads: SHA-256 of every large file whose content arrived whole, in order.
        part_bytes: large files above it are uploaded in parts.
        before_commit: called once, when the next commit arrives: what somebody else does meanwhile.
        watch: looks at the files of every commit of a branch; returns what is wrong with them.
    """

    def __init__(self, watch: Callable[[dict[str, bytes]], str | None] = incomplete) -> None:
        self.users = {
            TOKEN: {"name": "me", "orgs": {"team": "write", "readers": "read"}, "role": "write"},
            OTHER_TOKEN: {"name": "other", "orgs": {}, "role": "write"},
            READ_TOKEN: {"name": "me", "orgs": {}, "role": "read"},
        }
        self.repos: dict[str, Repo] = {}
        self.collections: dict[str, dict] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.broken: list[tuple[str, str]] = []
        self.uploads: list[str] = []
        self.part_bytes = 1 << 62
        self.before_commit: Callable[[], object] | None = None
        self.watch = watch
        self.lock = threading.RLock()
        self.go_on = threading.Event()
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextlib.contextmanager
    def running(self) -> Iterator["LocalHub"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def create(self, name: str, private: bool = False) -> Repo:
        repo = self.repos[name] = Repo(private)
        repo.branches["main"] = repo.add(None, "initial commit", {".gitattributes": Blob(b"*.bin filter=lfs\n")}).oid
        return repo

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """What a revision holds."""
        commit = self.repos[name].at(revision)
        assert commit is not None, revision
        return {path: blob.content for path, blob in commit.tree.items()}

    def commit(self, name: str, files: dict[str, bytes], branch: str = "main", title: str = "by somebody else") -> str:
        """What another person does meanwhile."""
        repo = self.repos[name]
        tree = {**repo.commits[repo.branches[branch]].tree, **{path: Blob(content) for path, content in files.items()}}
        repo.branches[branch] = repo.add(repo.branches[branch], title, tree).oid
        return repo.branches[branch]

    def fault(self, request: str, kind: int | str, times: int = 1, skip: int = 0, **headers: str) -> None:
        """Order one; see `Fault`."""
        self.faults.append(Fault(request, kind, times, skip, {key.replace("_", "-"): headers[key] for key in headers}))

    def due(self, request: str) -> Fault | None:
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.request, request):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None


_ROUTES: list[tuple[str, re.Pattern, Callable]] = []
_REPO = r"(?P<repo>[^/]+/[^/]+?)"


def route(method: str, pattern: str) -> Callable:
    def add(function: Callable) -> Callable:
        _ROUTES.append((method, re.compile(f"{pattern}$"), function))
        return function

    return add


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: LocalHub

    def log_message(self, *args: object) -> None:
        pass

    def _handle(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        self.place, self.query = address.path, dict(urllib.parse.parse_qsl(address.query))
        fault = self.hub.due(f"{self.command} {self.place}")
        self.body = b""
        if fault is not None and fault.kind == "hang up":
            self.close_connection = True
            return
        if fault is not None and fault.kind == "cut":
            self.rfile.read(max(int(self.headers.get("Content-Length", 2)) // 2, 1))
            self.close_connection = True
            return
        if fault is not None and fault.kind == "wait":
            self.hub.go_on.wait()
            self.hub.go_on.clear()
            self.close_connection = True
            return
        self.body = self._read()
        if fault is not None and isinstance(fault.kind, int):
            self._answer(fault.kind, {"error": "out of order"}, fault.headers)
            return
        try:
            with self.hub.lock:
                status, answer, headers = self._dispatch()
        except Refused as refused:
            named = {"X-Error-Code": refused.code} if refused.code else {}
            named |= {"X-Error-Message": refused.message} if refused.message else {}
            status, answer, headers = refused.status, refused.body, named
        if fault is not None and fault.kind == "lost":
            self.close_connection = True
            return
        self._answer(status, answer, headers)

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, status: int, body: object, headers: dict[str, str]) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(content)

    def _dispatch(self) -> tuple[int, object, dict[str, str]]:
        for method, pattern, function in _ROUTES:
            found = pattern.match(self.place)
            if found and method in (self.command, {"HEAD": "GET"}.get(self.command)):
                named = {key: urllib.parse.unquote(value) for key, value in found.groupdict().items() if value}
                answer = function(self, **named)
                return answer if isinstance(answer, tuple) else (200, answer, {})
        raise Refused(404, message=f"there is no {self.command} {self.place}")

    # Who asks, and for what

    def user(self) -> dict | None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given:
            return None
        if given not in self.hub.users:
            raise Refused(401, message="Invalid credentials in Authorization header")
        return self.hub.users[given]

    def may_write(self, owner: str) -> bool:
        user = self.user()
        if user is None or user["role"] == "read":
            return False
        return owner == user["name"] or user["orgs"].get(owner) in ("write", "admin")

    def repository(self, name: str, write: bool = False) -> Repo:
        owner, user = name.split("/")[0], self.user()
        repo = self.hub.repos.get(name)
        reads = user is not None and (owner == user["name"] or owner in user["orgs"])
        if repo is None or (repo.private and not reads):
            raise Refused(401 if user is None else 404, "RepoNotFound", "Repository not found")
        if write and not self.may_write(owner):
            raise Refused(403, message="You don't have the rights to write to this repository")
        return repo

    def commit_at(self, name: str, revision: str) -> Commit:
        found = self.repository(name).at(revision)
        if found is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def json(self) -> dict:
        return json.loads(self.body or b"{}")


@route("GET", "/api/whoami-v2")
def whoami(request: _Handler) -> dict:
    user = request.user()
    if user is None:
        raise Refused(401, message="Invalid username or password.")
    orgs = [{"type": "org", "name": name, "roleInOrg": role} for name, role in user["orgs"].items()]
    return {
        "type": "user",
        "name": user["name"],
        "orgs": orgs,
        "auth": {"type": "access_token", "accessToken": {"displayName": "tests", "role": user["role"]}},
    }


@route("POST", "/api/repos/create")
def create_repo(request: _Handler) -> dict:
    asked = request.json()
    user = request.user()
    if user is None:
        raise Refused(401, message="Invalid username or password.")
    owner = asked.get("organization") or user["name"]
    if not request.may_write(owner):
        raise Refused(403, message=f'You don\'t have the rights to create a model under the namespace "{owner}"')
    name = f"{owner}/{asked['name']}"
    address = f"{request.hub.url}/{name}"
    if name in request.hub.repos:
        raise Refused(409, message="You already created this model repo", body={"error": "exists", "url": address})
    request.hub.create(name, private=asked.get("visibility") == "private")
    return {"url": address}


@route("POST", "/api/validate-yaml")
def validate_yaml(request: _Handler) -> dict:
    content = request.json()["content"]
    found = re.match(r"---\n(.*?)\n---", content, flags=re.S)
    try:
        front = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError as error:
        raise Refused(400, body={"errors": [{"message": str(error)}], "warnings": []}) from None
    bases = front.get("base_model") or []
    for base in [bases] if isinstance(bases, str) else bases:
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base) or base.startswith((".", "/")):
            message = f'"base_model[0]" with value "{base}" is not valid. Use a model id from https://hf.co/models.'
            raise Refused(400, body={"errors": [{"message": message}], "warnings": []})
    return {"errors": [], "warnings": []}


@route("GET", f"/api/models/{_REPO}(/revision/(?P<revision>[^/]+))?")
def info(request: _Handler, repo: str, revision: str = "main") -> dict:
    commit = request.commit_at(repo, revision)
    return {
        "_id": "0",
        "id": repo,
        "modelId": repo,
        "sha": commit.oid,
        "private": request.repository(repo).private,
        "siblings": [{"rfilename": path} for path in commit.tree],
        "tags": [],
        "downloads": 0,
        "likes": 0,
    }


@route("GET", f"/api/models/{_REPO}/refs")
def refs(request: _Handler, repo: str) -> dict:
    held = request.repository(repo)

    def named(kind: str, found: dict[str, str]) -> list[dict]:
        return [{"name": key, "ref": f"refs/{kind}/{key}", "targetCommit": oid} for key, oid in found.items()]

    return {"branches": named("heads", held.branches), "tags": named("tags", held.tags), "converts": []}


@route("GET", f"/api/models/{_REPO}/tree/(?P<revision>[^/]+)(/(?P<below>.*))?")
def tree(request: _Handler, repo: str, revision: str, below: str = "") -> list:
    files = request.commit_at(repo, revision).tree
    below = f"{below.rstrip('/')}/" if below else ""
    inside = {path: blob for path, blob in files.items() if path.startswith(below)}
    if below and not inside:
        raise Refused(404, "EntryNotFound", "no such folder")
    if request.query.get("recursive", "").lower() in ("1", "true"):
        return [blob.entry(path) for path, blob in inside.items()]
    here = {path: blob for path, blob in inside.items() if "/" not in path[len(below) :]}
    folders = sorted({below + path[len(below) :].split("/")[0] for path in inside} - set(here))
    named = [
        {"type": "directory", "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0, "path": name} for name in folders
    ]
    return [*named, *(blob.entry(path) for path, blob in here.items())]


@route("GET", f"/api/models/{_REPO}/commits/(?P<revision>[^/]+)")
def commits(request: _Handler, repo: str, revision: str) -> list:
    found, commit = [], request.commit_at(repo, revision)
    held = request.repository(repo)
    while commit is not None:
        date = "2026-01-01T00:00:00.000Z"
        found.append({"id": commit.oid, "title": commit.title, "message": "", "authors": [], "date": date})
        commit = held.commits.get(commit.parent or "")
    return found


@route("GET", f"/api/models/{_REPO}/auth-check(?P<write>/write)?")
def auth_check(request: _Handler, repo: str, write: str = "") -> dict:
    request.repository(repo, write=bool(write))
    return {}


@route("POST", f"/api/models/{_REPO}/preupload/(?P<revision>[^/]+)")
def preupload(request: _Handler, repo: str, revision: str) -> dict:
    request.repository(repo, write=not request.query.get("create_pr"))
    files = request.commit_at(repo, revision).tree
    answers = []
    for file in request.json()["files"]:
        large = file["path"].endswith(LARGE) or file["size"] > 10_000_000
        there = files.get(file["path"])
        known = None if there is None else there.sha256 if there.large else there.oid
        mode = "lfs" if large else "regular"
        answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": known})
    return {"files": answers}


@route("POST", rf"/{_REPO}\.git/info/lfs/objects/batch")
def batch(request: _Handler, repo: str) -> dict:
    held = request.repository(repo)
    objects = []
    for asked in request.json()["objects"]:
        oid, size = asked["oid"], asked["size"]
        answer = {"oid": oid, "size": size}
        if oid not in held.stored:
            place = f"{request.hub.url}/lfs/{repo}/{oid}"
            upload: dict = {"href": place}
            if size > request.hub.part_bytes:
                parts = -(-size // request.hub.part_bytes)
                numbered = {str(number + 1): f"{place}/{number + 1}" for number in range(parts)}
                upload = {"href": f"{place}/whole", "header": {"chunk_size": str(request.hub.part_bytes), **numbered}}
            answer["actions"] = {"upload": upload, "verify": {"href": f"{request.hub.url}/lfs/{repo}/{oid}/verify"}}
        objects.append(answer)
    return {"transfer": "basic", "objects": objects}


_PARTS: dict[tuple[str, int], bytes] = {}


@route("PUT", f"/lfs/{_REPO}/(?P<oid>[0-9a-f]{{64}})(/(?P<part>[0-9]+))?")
def put(request: _Handler, repo: str, oid: str, part: str = "") -> tuple:
    if part:
        _PARTS[oid, int(part)] = request.body
        return 200, {}, {"ETag": hashlib.md5(request.body).hexdigest()}
    _store(request, repo, oid, request.body)
    return 200, {}, {}


@route("POST", f"/lfs/{_REPO}/(?P<oid>[0-9a-f]{{64}})/whole")
def whole(request: _Handler, repo: str, oid: str) -> dict:
    _store(request, repo, oid, b"".join(_PARTS[oid, part["partNumber"]] for part in request.json()["parts"]))
    return {}


@route("POST", f"/lfs/{_REPO}/(?P<oid>[0-9a-f]{{64}})/verify")
def verify(request: _Handler, repo: str, oid: str) -> dict:
    if len(request.repository(repo).stored.get(oid, b"")) != request.json()["size"]:
        raise Refused(404, message="the object is not there")
    return {}


def _store(request: _Handler, repo: str, oid: str, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != oid:
        raise Refused(400, message="BadDigest")
    request.hub.repos[repo].stored[oid] = content
    request.hub.uploads.append(oid)


@route("POST", f"/api/models/{_REPO}/commit/(?P<revision>[^/]+)")
def commit(request: _Handler, repo: str, revision: str) -> dict:
    pull = bool(request.query.get("create_pr"))
    held = request.repository(repo, write=not pull)
    meanwhile, request.hub.before_commit = request.hub.before_commit, None
    if meanwhile is not None:
        meanwhile()
    head = held.branches.get(revision)
    if head is None:
        raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    lines = [json.loads(line) for line in request.body.splitlines()]
    header = lines[0]["value"]
    parent = header.get("parentCommit", head)
    if not pull and parent != head:
        raise Refused(412, message="A commit has happened since. Please refresh and try again.")
    files = dict(held.commits[parent].tree)
    for line in lines[1:]:
        path = line["value"]["path"]
        if line["key"] == "deletedFile":
            if path not in files:
                raise Refused(404, "EntryNotFound", "A file with this name doesn't exist")
            del files[path]
        elif line["key"] == "file":
            files[path] = Blob(base64.b64decode(line["value"]["content"]))
        elif line["key"] == "lfsFile":
            if line["value"]["oid"] not in held.stored:
                raise Refused(400, message=f"LFS pointer pointed to a file that does not exist: {path}")
            files[path] = Blob(held.stored[line["value"]["oid"]], large=True)
        else:
            raise Refused(400, message=f"unknown operation {line['key']}")
    made = held.add(parent, header["summary"], files)
    answer = {"success": True, "commitOid": made.oid, "commitUrl": f"{request.hub.url}/{repo}/commit/{made.oid}"}
    if pull:
        held.pulls.append(made.oid)
        return {**answer, "pullRequestUrl": f"{request.hub.url}/{repo}/discussions/{len(held.pulls)}"}
    held.branches[revision] = made.oid
    wrong = request.hub.watch({path: blob.content for path, blob in files.items()})
    if wrong:
        request.hub.broken.append((f"{repo}@{revision}", wrong))
    return answer


@route("POST", f"/api/models/{_REPO}/branch/(?P<branch>[^/]+)")
def branch(request: _Handler, repo: str, branch: str) -> dict:
    held = request.repository(repo, write=True)
    if branch in held.branches:
        raise Refused(409, message="Reference already exists")
    held.branches[branch] = request.commit_at(repo, request.json().get("startingPoint", "main")).oid
    return {}


@route("POST", f"/api/models/{_REPO}/tag/(?P<revision>[^/]+)")
def tag(request: _Handler, repo: str, revision: str) -> dict:
    held = request.repository(repo, write=True)
    name = request.json()["tag"]
    if name in held.tags:
        raise Refused(409, message="Tag already exists")
    held.tags[name] = request.commit_at(repo, revision).oid
    return {}


@route("GET", f"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.*)")
def resolve(request: _Handler, repo: str, revision: str, path: str) -> tuple:
    commit = request.commit_at(repo, revision)
    if path not in commit.tree:
        raise Refused(404, "EntryNotFound", "Entry not found")
    blob = commit.tree[path]
    named = {"X-Repo-Commit": commit.oid, "ETag": f'"{blob.sha256 if blob.large else blob.oid}"', "Accept-Ranges": "bytes"}
    if blob.large:
        named |= {"X-Linked-ETag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.content))}
    return 200, blob.content, {**named, "Content-Length": str(len(blob.content))}


@route("POST", "/api/collections")
def create_collection(request: _Handler) -> tuple:
    asked = request.json()
    slug = f"{asked['namespace']}/{asked['title'].lower().replace(' ', '-')}-{'0' * 24}"
    known = slug in request.hub.collections
    held = request.hub.collections.setdefault(slug, {"title": asked["title"], "private": asked["private"], "items": []})
    return (409 if known else 200), _collection(slug, held), {}


@route("GET", "/api/collections/(?P<slug>.+)")
def get_collection(request: _Handler, slug: str) -> dict:
    if slug not in request.hub.collections:
        raise Refused(404, message="Collection not found")
    return _collection(slug, request.hub.collections[slug])


@route("POST", "/api/collections/(?P<slug>.+)/items?")
def add_item(request: _Handler, slug: str) -> tuple:
    if slug not in request.hub.collections:
        raise Refused(404, message="Collection not found")
    held = request.hub.collections[slug]
    item = request.json()["item"]["id"]
    known = item in held["items"]
    held["items"] += [] if known else [item]
    return (409 if known else 200), _collection(slug, held), {}


def _collection(slug: str, held: dict) -> dict:
    items = [{"_id": str(at), "id": item, "type": "model", "position": at} for at, item in enumerate(held["items"])]
    return {
        "slug": slug,
        "title": held["title"],
        "owner": {"name": slug.split("/")[0]},
        "items": items,
        "lastUpdated": "2026-01-01T00:00:00.000Z",
        "position": 0,
        "private": held["private"],
        "theme": "blue",
        "upvotes": 0,
    }

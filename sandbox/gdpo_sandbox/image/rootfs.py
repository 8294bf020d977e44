"""Copy the Python that runs this, and only what it needs, into a folder: the root of the sandbox's image.

    PACKAGES="numpy" python3 rootfs.py FOLDER        (in the first stage of the Dockerfile)

Of installed packages those come along that PACKAGES names, by default none. What is left out cannot be
misused and need not be loaded: shell, package manager, setuid programs, pip, the standard library's
tests. Modules are compiled here, because on a read-only root every start would compile them again;
`unchecked`, so that a start does not even look at the sources.
"""

import compileall
import glob
import importlib.util
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig

LEFT_OUT = (
    *("site-packages", "dist-packages", "__pycache__", "config-*"),
    *("test", "idlelib", "tkinter", "_tkinter*", "turtledemo", "lib2to3", "ensurepip", "pydoc_data"),
)
PACKAGE_LEFT_OUT = ("__pycache__", "tests", "include", "*.a", "*.pyi", "distutils", "f2py")
"""What only a compiler or a test runner has a use for."""
DLOPENED = "libgcc_s.so.1"
"""The C library loads it when a thread is cancelled, and nothing links to it."""
ETC = {
    "passwd": "root:x:0:0:root:/:/nonexistent\nnobody:x:65534:65534:nobody:/:/nonexistent\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def libraries(path: str) -> list[str] | None:
    """Shared objects that an executable or library needs, as the loader finds them; None if one is missing."""
    (loader, *_) = glob.glob("/lib64/ld-linux-*.so.*") or glob.glob("/lib/ld-linux-*.so.*")
    listing = subprocess.run([loader, "--list", path], capture_output=True, text=True, check=False).stdout
    if "not found" in listing:
        return None
    # `libz.so.1 => /lib/…/libz.so.1 (0x…)`, or a path alone for the loader
    names = (line.split("=>")[-1].split("(")[0].strip() for line in listing.splitlines())
    return [name for name in names if name.startswith("/")]


def copy(path: str, root: str) -> None:
    """Copy a file to the same place under `root`, without the symbolic links on the way to it."""
    folder = root + os.path.realpath(os.path.dirname(path))
    os.makedirs(folder, exist_ok=True)
    shutil.copy(path, os.path.join(folder, os.path.basename(path)))


def build(root: str, packages: list[str]) -> None:
    """Fill `root`."""
    folders = [find_package(name) for name in packages]
    copy_python(root)
    for folder in folders:
        copy_package(folder, root)
    copy_system(root)
    for folder, folders, files in os.walk(root):
        for name in (".", *folders, *files):
            os.utime(os.path.join(folder, name), (0, 0), follow_symlinks=False)


def copy_python(root: str) -> None:
    """Interpreter, compiled standard library, and the shared objects that they link to."""
    stdlib = sysconfig.get_path("stdlib")
    executable = os.path.realpath(sys.executable)
    shutil.copytree(stdlib, root + stdlib, ignore=shutil.ignore_patterns(*LEFT_OUT), ignore_dangling_symlinks=True)
    linked = {executable, *glob.glob(f"/usr/lib/*/{DLOPENED}")}
    for module in glob.glob(f"{root}{stdlib}/lib-dynload/*.so"):
        needed = libraries(module)
        if needed is None:
            os.remove(module)  # it could not be imported here either
        else:
            linked.update(needed)
    for path in {*linked, *(libraries(executable) or ())}:
        copy(path, root)
    os.makedirs(f"{root}/usr/bin", exist_ok=True)
    os.symlink(executable, f"{root}/usr/bin/python3")
    compile_folder(stdlib, root)


def find_package(name: str) -> str:
    """Folder of an installed package."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        sys.exit(f"The base has no package {name}.")
    (folder,) = found.submodule_search_locations
    return folder


def copy_package(folder: str, root: str) -> None:
    """A package, compiled, the metadata that tell its version, and the shared objects that it links to."""
    for source in (folder, *glob.glob(f"{folder}-*-info")):
        shutil.copytree(source, root + source, ignore=shutil.ignore_patterns(*PACKAGE_LEFT_OUT))
    for module in glob.glob(f"{folder}/**/*.so", recursive=True):
        needed = libraries(module)
        if needed is None:
            sys.exit(f"The base lacks a library that {module} needs.")
        for path in needed:
            copy(path, root)
    compile_folder(folder, root)


def compile_folder(folder: str, root: str) -> None:
    """Compile the modules in a folder under `root`."""
    compileall.compile_dir(
        root + folder,
        quiet=1,
        workers=0,
        stripdir=root,
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def copy_system(root: str) -> None:
    """The few folders and files outside Python that its modules look at."""
    for link in ("/lib", "/lib64"):
        if os.path.islink(link):
            os.symlink(os.readlink(link), root + link)
    for folder in ("dev", "etc", "proc", "sys", "tmp"):
        os.makedirs(f"{root}/{folder}", exist_ok=True)
    os.chmod(f"{root}/tmp", 0o1777)
    for name, text in ETC.items():
        with open(f"{root}/etc/{name}", "w") as file:
            file.write(text)
    for path in ("/etc/ld.so.cache", "/etc/mime.types"):
        if os.path.exists(path):
            copy(path, root)
    if os.path.isdir("/usr/share/zoneinfo"):
        skipped = shutil.ignore_patterns("right", "posix")
        shutil.copytree("/usr/share/zoneinfo", f"{root}/usr/share/zoneinfo", ignore=skipped, symlinks=True)


if __name__ == "__main__":
    build(sys.argv[1], os.environ.get("PACKAGES", "").split())

# Sourced by the scripts beside it: one virtual environment, made once, found again in no time.
#
# Owns the environment (.venv, or where EFTRAIND_VENV says) and nothing outside it. PYTHON names
# another interpreter, CXX another compiler. Never needs root.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${EFTRAIND_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac

say() { printf 'eftraind: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

find_python() {
    local python candidates=(python3 python3.13 python3.12 python3.11 python3.10)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for python in "${candidates[@]}"; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    die "needs Python 3.10 or newer (tried ${candidates[*]}); try: sudo apt-get install python3 python3-venv"
}

# A Debian without python3-venv has the module venv but no pip to put inside. apt can fetch the
# package that holds pip without installing it, and without root.
pip_from_apt() {
    local box wheel status=1
    box=$(mktemp -d)
    (cd "$box" && apt-get download python3-pip-whl && dpkg-deb -x ./*.deb .) >/dev/null 2>&1 || true
    wheel=$(find "$box" -name 'pip-*.whl' -print -quit)
    if [ -n "$wheel" ]; then
        "$venv/bin/python" "$wheel/pip" install --quiet pip && status=0
    fi
    rm -rf "$box"
    return $status
}

make_venv() {
    local python
    python=$(find_python) || exit 1
    say "making an environment in $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv" >/dev/null 2>&1 && return
    "$python" -m virtualenv --clear --quiet "$venv" >/dev/null 2>&1 && return
    if "$python" -m venv --clear --without-pip "$venv" >/dev/null 2>&1; then
        "$python" -m pip --python "$venv/bin/python" install --quiet pip >/dev/null 2>&1 && return
        pip_from_apt && return
    fi
    die "this Python cannot make environments; run: sudo apt-get install python3-venv"
}

pip_install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" ||
        die "pip could not install $* (see above; a proxy or index is set with pip config)"
}

compiles() {
    local box status
    box=$(mktemp -d)
    printf '#include <vector>\n#include <thread>\nint main() { return 0; }\n' >"$box/t.cpp"
    # CXX may hold a command with arguments.
    eval "$1 -std=c++17 '$box/t.cpp' -o '$box/t'" >/dev/null 2>&1 && status=0 || status=1
    rm -rf "$box"
    return $status
}

# Sets CXX for the native engine's build.
find_compiler() {
    local compiler zig
    for compiler in ${CXX:+"$CXX"} c++ g++ clang++; do
        if compiles "$compiler"; then
            export CXX=$compiler
            return
        fi
    done
    say "no working C++ compiler found (tried ${CXX:+$CXX, }c++, g++, clang++): using zig c++ from PyPI"
    pip_install ziglang
    # By its path: `python -m ziglang` finds nothing inside pip's isolated build environment.
    zig=$("$venv/bin/python" -c 'import os, ziglang; print(os.path.dirname(ziglang.__file__))')/zig
    CXX="$(printf %q "$zig") c++"
    export CXX
    compiles "$CXX" || die "zig c++ does not work here; try: sudo apt-get install g++"
}

# What an installed environment depends on; a change of it installs again.
fingerprint() {
    {
        printf '%s\n' "$root" "$1" "${CXX:-}"
        cat "$root/pyproject.toml" "$root/scripts/env.sh"
        cat "$root/setup.py" 2>/dev/null || true
        cat "$root/eftraind/accel/kernel_build.py"
        find "$root/eftraind/accel/native" "$root/hls/src" "$root/hls/sim" "$root/hls/boards" -type f \( -name '*.[ch]pp' -o -name '*.h' -o -name '*.py' \) \
            -print0 | LC_ALL=C sort -z | xargs -0 cat
    } | sha256sum | cut -d' ' -f1
}

# make_env EXTRAS: the environment with this checkout and the named extras in it.
make_env() {
    local stamp wanted
    stamp=$venv/.eftraind-$1
    wanted=$(fingerprint "$1")
    if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] &&
        "$venv/bin/python" -c '' 2>/dev/null; then
        return
    fi
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        make_venv
    fi
    find_compiler
    say "installing eftraind[$1] (once; compiling with: $CXX)"
    pip_install --editable "$root[$1]"
    printf '%s\n' "$wanted" >"$stamp"
}

# Prepares the virtual environment that `hive` and `check` run in. Sourced, never executed.
#
# Rule: a start with nothing to do costs no network, no Python and no output. What was installed
# is remembered in a stamp (pyproject.toml, the interpreter behind the environment, this clone's
# place); the stamp is written last, so an interrupted installation is simply done again.
#
# Given:  root    the clone
# Sets:   venv    the virtual environment, ready to use

say() { printf '%s: %s\n' "$program" "$*" >&2; }

fail() {
    say "$*"
    exit 7
}

# POSIX cksum is enough: the stamp tells versions apart, it does not guard against anybody.
make_stamp() {
    printf '%s %s %s\n' "$(cksum <"$root/pyproject.toml")" \
        "$(readlink -f "$venv/bin/python" 2>/dev/null)" "$root"
}

is_ready() { # $1: name of the stamp
    [ -x "$venv/bin/python" ] && [ -f "$venv/$1" ] && [ "$(cat "$venv/$1")" = "$(make_stamp)" ]
}

choose_venv() { # $1: name of the stamp
    if [ -n "${HIVE_VENV:-}" ]; then
        case $HIVE_VENV in
        /*) venv=$HIVE_VENV ;;
        *) venv=$PWD/$HIVE_VENV ;;
        esac
        return
    fi
    venv=$root/.venv
    if is_ready "$1"; then return; fi
    if [ -d "$venv" ]; then
        if [ -w "$venv" ] && [ -w "$root" ]; then return; fi
    elif [ -w "$root" ]; then
        return
    fi
    # A clone that belongs to somebody else, or a read-only one.
    where=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/hyperhive
    venv=$where/venv-$(printf '%s' "$root" | cksum | cut -d ' ' -f 1)
    export PYTHONPYCACHEPREFIX="$where/pycache"
}

find_python() {
    for python in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            # The file itself: a version manager's shim may point elsewhere tomorrow.
            python=$("$python" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')
            return
        fi
    done
    fail "cannot go on: Python 3.11 or newer is needed and none was found" \
        "($(python3 --version 2>&1)); install one, e.g. Debian 12's python3"
}

install_venv_module() {
    if "$python" -c 'import venv, ensurepip' 2>/dev/null; then return; fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    command="apt-get install --yes --no-install-recommends python$version-venv"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "cannot make a virtual environment: $python has no ensurepip; run: sudo $command"
    fi
    say "installing python$version-venv with apt-get"
    log=$(mktemp)
    if ! { DEBIAN_FRONTEND=noninteractive $command ||
        { apt-get update && DEBIAN_FRONTEND=noninteractive $command; }; } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "cannot install python$version-venv: apt-get said the above"
    fi
    rm -f "$log"
}

build_venv() { # $1: name of the stamp, $2: what pip installs
    if is_ready "$1"; then return; fi # another start was quicker
    rm -f "$venv/$1"
    if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
        find_python
        install_venv_module
        say "making a virtual environment in $venv ($("$python" --version 2>&1))"
        "$python" -m venv --clear "$venv" >&2 ||
            fail "cannot make a virtual environment in $venv: the error is above"
    fi
    say "installing the Python packages it needs (once; half a minute)"
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --prefer-binary --editable "$2" >"$venv/install.log" 2>&1; then
        cat "$venv/install.log" >&2
        fail "cannot install the Python packages: pip said the above;" \
            "mend that (network? proxy? disk?) and start again"
    fi
    make_stamp >"$venv/$1.new" && mv -f "$venv/$1.new" "$venv/$1"
}

prepare_venv() { # $1: name of the stamp, $2: what pip installs
    choose_venv "$1"
    if is_ready "$1"; then return; fi
    mkdir -p "$(dirname "$venv")" ||
        fail "cannot write to $(dirname "$venv"); name another place with HIVE_VENV"
    # A second start waits for the first one, then finds all done. The lock is no part of the
    # environment, because making that anew would remove it.
    {
        if ! flock --nonblock 9; then
            say "waiting for another start that is installing"
            flock 9
        fi
        build_venv "$1" "$2"
    } 9>"$venv.lock" || exit $?
}

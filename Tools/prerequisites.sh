# Sourced by up and test: installs Debian packages that are missing, and checks for Swift.

say() { printf '%s\n' "$*" >&2; }

# The oldest Swift that builds the package.
require_swift() {
    if ! command -v swift >/dev/null 2>&1; then
        say "Swift is missing: install Swift 6.3 from https://www.swift.org/install/linux and put it on the PATH."
        exit 1
    fi
    version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p' | head -n 1)
    set -- ${version:-0 0}
    if [ "$1" -lt 6 ] || { [ "$1" -eq 6 ] && [ "$2" -lt 3 ]; }; then
        say "Swift $1.$2 is too old: install Swift 6.3 or later from https://www.swift.org/install/linux."
        exit 1
    fi
}

# Installs the packages named, as root or through sudo; otherwise prints the one line to run.
require_packages() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" = 0 ]; then
        run=
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        run=sudo
    else
        say "These packages are missing; run this, then try again:"
        say "  sudo apt-get install -y$missing"
        exit 1
    fi
    say "Installing:$missing"
    log=$(mktemp)
    if ! { $run apt-get update && DEBIAN_FRONTEND=noninteractive $run apt-get install -y \
        --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        say "Installing failed; see above. The line was: apt-get install -y$missing"
        exit 1
    fi
    rm -f "$log"
}

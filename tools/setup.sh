#!/usr/bin/env bash
# Installs what the build needs and the machine lacks: a C++ compiler, clang with libclang (for bindgen), lld, and Rust.
set -euo pipefail

packages=()
command -v clang >/dev/null || packages+=(clang)
command -v ld.lld >/dev/null || packages+=(lld)
command -v c++ >/dev/null || packages+=(g++)
command -v make >/dev/null || packages+=(make)
ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1 || packages+=(libclang-dev)
if [[ ${#packages[@]} -gt 0 ]]; then
  echo "installing ${packages[*]}" >&2
  sudo=""
  [[ $(id -u) == 0 ]] || sudo=sudo
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
if ! command -v cargo >/dev/null; then
  echo "Rust is missing: install it from https://rustup.rs (1.95 or later)" >&2
  exit 1
fi

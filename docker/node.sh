#!/bin/sh
# Makes this container's node when it starts for the first time, and runs it. The first node of a cluster has no JOIN; the
# others have the name of a node in it.
#
# --insecure: within the containers' network connections are not encrypted, and roles without a password are trusted.
set -eu

name=$(hostname)
if [ ! -e node.toml ]; then
  # What a start left behind that did not get as far as to write the file.
  rm -rf data
  set -- --config node.toml --data-dir data --insecure \
    --listen "$name:5432" --cluster-listen "$name:7432" --admin-listen "$name:8432"
  if [ -z "${JOIN:-}" ]; then
    shardforge init --single-node "$@"
  else
    SHARDFORGE_JOIN_TOKEN=$(shardforge node token "postgresql://postgres@$JOIN:5432/postgres")
    export SHARDFORGE_JOIN_TOKEN
    shardforge init --join "$JOIN:7432" "$@"
    unset SHARDFORGE_JOIN_TOKEN
  fi
fi
exec shardforge start --config node.toml

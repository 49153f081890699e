#!/bin/sh
# A certificate authority of your own, and certificates for the broker and for everybody who talks to it.
# Needs openssl 1.1.1 or newer. Writes into one folder and never over a file that is there.
set -eu
umask 077

CA_DAYS=3650
DAYS=825 # what common TLS libraries accept at most

usage() {
  cat <<'TEXT'
usage: make-tls.sh FOLDER ca                     a new authority: ca.crt, ca.key
       make-tls.sh FOLDER server HOST [HOST...]  for the broker, by all its names and addresses: server.crt, server.key
       make-tls.sh FOLDER client NAME            for a device, a daemon or a person: NAME.crt, NAME.key
NAME becomes the user name on the broker, so it is what the access control list is about.
ca.key signs for everybody: keep it off the gateway. The others need ca.crt and their own two files.
TEXT
}

fail() {
  echo "make-tls.sh: $1" >&2
  exit "${2:-1}"
}

new() { # the files that are about to be made must not be there yet
  for file in "$@"; do
    [ ! -e "$folder/$file" ] || fail "$folder/$file is there already; move it away first, nothing was changed"
  done
}

key() { # $1: file
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

signed() { # $1: name of the files, $2: common name, $3: usage, $4: further extensions
  [ -r "$folder/ca.key" ] || fail "there is no $folder/ca.key; begin with: make-tls.sh $folder ca"
  new "$1.key" "$1.crt"
  key "$work/key"
  openssl req -new -key "$work/key" -subj "/CN=$2" -out "$work/request"
  {
    echo "basicConstraints=critical,CA:FALSE"
    echo "keyUsage=critical,digitalSignature"
    echo "extendedKeyUsage=$3"
    echo "subjectKeyIdentifier=hash"
    echo "authorityKeyIdentifier=keyid"
    [ -z "$4" ] || echo "subjectAltName=$4"
  } >"$work/extensions"
  openssl x509 -req -in "$work/request" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -sha256 -days "$DAYS" \
    -set_serial "0x$(openssl rand -hex 16 | sed 's/^./1/')" -extfile "$work/extensions" -out "$work/crt" 2>"$work/said" ||
    fail "openssl did not sign: $(cat "$work/said")"
  put "$1"
}

put() { # both files at once, the key readable by its owner alone
  chmod 644 "$work/crt"
  mv -n "$work/key" "$folder/$1.key"
  mv -n "$work/crt" "$folder/$1.crt"
  echo "made $folder/$1.crt and $folder/$1.key"
}

case "${1:-}" in -h | --help | "") usage && exit 0 ;; esac
[ $# -ge 2 ] || { usage >&2 && exit 2; }
folder=$1 what=$2
shift 2
mkdir -p "$folder"
work=$(mktemp -d "$folder/.new.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM

case "$what" in
ca)
  [ $# -eq 0 ] || fail "ca takes no name" 2
  new ca.key ca.crt
  key "$work/key"
  openssl req -new -x509 -key "$work/key" -sha256 -days "$CA_DAYS" -subj "/CN=sensorweir authority" -out "$work/crt" \
    -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign"
  put ca
  ;;
server)
  [ $# -ge 1 ] || fail "server takes the names and addresses that clients use, such as gateway.local 192.0.2.10" 2
  names=""
  for host in "$@"; do
    case "$host" in
    *[!A-Za-z0-9.:-]*) fail "not a host name or address: $host" 2 ;;
    *:* | *[0-9].[0-9]*.[0-9]*.[0-9]*) names="$names,IP:$host" ;;
    *) names="$names,DNS:$host" ;;
    esac
  done
  signed server "$1" serverAuth "${names#,}"
  ;;
client)
  [ $# -eq 1 ] || fail "client takes one name" 2
  case "$1" in
  ca | server) fail "$1 is the name of other files here" 2 ;;
  "" | .* | -* | *[!A-Za-z0-9._:-]*) fail "a name is letters, digits, . _ : -, because it stands in topics: $1" 2 ;;
  esac
  [ "${#1}" -le 64 ] || fail "a name has at most 64 characters" 2
  signed "$1" "$1" clientAuth ""
  ;;
*)
  usage >&2
  exit 2
  ;;
esac

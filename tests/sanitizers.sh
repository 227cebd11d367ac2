#!/usr/bin/env bash
# The tests that reach the compiled core, with that core built to notice what goes wrong inside it:
#   bash tests/sanitizers.sh address   AddressSanitizer, UndefinedBehaviorSanitizer, checked std::vector
#   bash tests/sanitizers.sh thread    ThreadSanitizer
#   bash tests/sanitizers.sh debug     no sanitizer: Python checks the edges of what it allocates; fresh memory is filled
# Arguments after that go to pytest; tests/... among them replace the tests chosen below. The first report ends the run
# with a status other than 0. The core is built into a folder of its own, which is removed again; dependencies come from the
# environment of $PYTHON (python3). Wants GCC, whose runtimes Python loads before anything else.
#
# Not seen: what NumPy and torch do among themselves (they are not built this way); masked loads and gathers of the
# AVX variants, which the compiler does not instrument (their baseline twins are). Leaks are not looked for: the
# interpreter keeps memory until it ends.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
  address) flags=address,undefined runtimes=(libasan.so libubsan.so) hook=__asan_init ;;
  thread) flags=thread runtimes=(libtsan.so) hook=__tsan_init ;;
  debug) flags='' runtimes=() hook='' ;;
  *) sed -n '2,5s/^# //p' "$0" >&2; exit 2 ;;
esac
shift
chosen=(tests/kernels/test_{bindings,equivalence,isa,rounding,store,threads}.py tests/scoring/test_{counts,crops,peaks,peaks_files}.py
  tests/results/test_scores.py tests/data/test_{label_cache,labels_ahead}.py tests/pages/test_overlaps.py)
[[ " $*" == *" tests/"* ]] || set -- "$@" "${chosen[@]}"

python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
fresh=$folder/venv/bin
"$fresh/pip" install --quiet --disable-pip-version-check --no-deps -C build-dir="$folder/build" \
  -C cmake.build-type=RelWithDebInfo -C cmake.define.NETDISSECT_SANITIZE="$flags" .
purelib='import sysconfig; print(sysconfig.get_path("purelib"))'
"$python" -c "$purelib" > "$("$fresh/python" -c "$purelib")/dependencies.pth"
grep -q "$hook" "$folder"/venv/lib*/python*/site-packages/netdissect_fast/_core.*.so

preload=''
for name in ${runtimes[@]+"${runtimes[@]}"}; do preload+="$(g++ -print-file-name="$name") "; done
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1
export OMP_NUM_THREADS=1    # ThreadSanitizer cannot see how torch's OpenMP threads wait for each other
export PYTHONMALLOC=malloc  # so that the sanitizer sees every single object
[ -n "$flags" ] || export PYTHONMALLOC=debug MALLOC_PERTURB_=165
fixed=()  # ThreadSanitizer has no room where the system places memory at random over a wide range
if setarch -R true 2> /dev/null; then fixed=(setarch -R); fi
# --capture=sys: a report is written past Python, just before the process ends.
env LD_PRELOAD="$preload" ${fixed[@]+"${fixed[@]}"} "$fresh/python" -m pytest -q -p no:cacheprovider --capture=sys "$@"

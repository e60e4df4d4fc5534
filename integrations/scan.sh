#!/usr/bin/env bash
# Runs bollwerk in a pipeline: writes the reports asked for, prints the table, and
# exits as `bollwerk scan` does (docs/ci.md). Everything comes in by environment
# variables, nothing is evaluated: a branch or an image name is never shell code.
#
#   BOLLWERK_SCAN_TARGET    what to scan                              default .
#   BOLLWERK_SCAN_FAIL_ON   what makes the job fail                   default: bollwerk's own
#   BOLLWERK_SCAN_BASELINE  JSON result to compare with               default: none
#   BOLLWERK_SCAN_CONFIG    exceptions and policy settings            default: .bollwerk.yaml
#   BOLLWERK_SCAN_REPORTS   "format=file" pairs, separated by blanks  default: none
#   BOLLWERK_BIN            the program                               default bollwerk
set -euo pipefail

refuse() {
	printf 'bollwerk: %s\n' "$1" >&2
	exit 2
}

# Values end up as arguments: no option may hide in them, no line break may forge a
# line of a log or of an outputs file.
check() { # name value pattern
	local LC_ALL=C
	[[ $2 == *[[:cntrl:]]* ]] && refuse "$1 has a control character"
	[[ $2 =~ $3 ]] || refuse "$1 is not valid: $2"
}

target=${BOLLWERK_SCAN_TARGET:-.}
fail_on=${BOLLWERK_SCAN_FAIL_ON:-}
baseline=${BOLLWERK_SCAN_BASELINE:-}
config=${BOLLWERK_SCAN_CONFIG:-}
reports=${BOLLWERK_SCAN_REPORTS:-}
bin=${BOLLWERK_BIN:-bollwerk}

check BOLLWERK_SCAN_TARGET "$target" '^[^-]'
[[ -z $fail_on ]] || check BOLLWERK_SCAN_FAIL_ON "$fail_on" '^[A-Za-z0-9][]A-Za-z0-9=<>.,+%&_ -]*$'
[[ -z $baseline ]] || check BOLLWERK_SCAN_BASELINE "$baseline" '^[^-]'
[[ -z $config ]] || check BOLLWERK_SCAN_CONFIG "$config" '^[^-]'
command -v "$bin" >/dev/null || refuse "$bin is not installed; build it with: go build ./cmd/bollwerk"

common=()
[[ -z $baseline ]] || common+=(--baseline "$baseline")
[[ -z $config ]] || common+=(--config "$config")
gate=()
[[ -z $fail_on ]] || gate+=(--fail-on "$fail_on")

# Reports are written before the verdict, so that they exist when the job fails.
# Exit code 1 only says that there are findings; 5 that coverage is low.
set -f
for pair in $reports; do
	check BOLLWERK_SCAN_REPORTS "$pair" '^[a-z-]+=[^-].*$'
	code=0
	"$bin" scan --quiet "${common[@]}" "${gate[@]}" --format "${pair%%=*}" --output "${pair#*=}" "$target" || code=$?
	case $code in
	0 | 1 | 5) ;;
	*) exit "$code" ;;
	esac
done
set +f

exec "$bin" scan "${common[@]}" "${gate[@]}" "$target"

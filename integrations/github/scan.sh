#!/usr/bin/env bash
# The body of the GitHub Action: finds or builds the program, runs ../scan.sh,
# writes the job summary and the outputs, and passes the exit code on.
set -euo pipefail

refuse() {
	printf '::error title=bollwerk::%s\n' "$1"
	exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sarif=${BOLLWERK_SCAN_SARIF:-bollwerk.sarif}
json=${BOLLWERK_SCAN_JSON:-bollwerk.json}
for file in "$sarif" "$json"; do
	# They stand in a list separated by blanks and in the outputs file.
	[[ $file =~ ^[A-Za-z0-9._/][A-Za-z0-9._/-]*$ ]] || refuse "a report's file name may have letters, digits and ._/- only"
done

temp=${RUNNER_TEMP:-$(mktemp -d)}
if [[ -z ${BOLLWERK_BIN:-} ]]; then
	if command -v bollwerk >/dev/null; then
		BOLLWERK_BIN=bollwerk
	else
		BOLLWERK_BIN=$temp/bollwerk
		(cd "$here/../.." && CGO_ENABLED=0 go build -trimpath -o "$BOLLWERK_BIN" ./cmd/bollwerk)
	fi
fi
export BOLLWERK_BIN
[[ $temp != *[[:space:]]* ]] || refuse "RUNNER_TEMP must have no blanks"
export BOLLWERK_SCAN_REPORTS="json=$json sarif=$sarif markdown=$temp/bollwerk-summary.md"

code=0
"$here/../scan.sh" || code=$?

if [[ -n ${GITHUB_STEP_SUMMARY:-} && -f $temp/bollwerk-summary.md ]]; then
	cat "$temp/bollwerk-summary.md" >>"$GITHUB_STEP_SUMMARY"
fi
if [[ -n ${GITHUB_OUTPUT:-} ]]; then
	printf 'exit-code=%s\nsarif-file=%s\njson-file=%s\n' "$code" "$sarif" "$json" >>"$GITHUB_OUTPUT"
fi
exit "$code"

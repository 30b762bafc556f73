#!/bin/sh
# Work pools where they lack, then every deployment of prefect.yaml; may be repeated. PREFECT_API_URL says where.
set -eu
cd "$(dirname "$0")/.."
for pool in cpu gpu; do
    prefect work-pool inspect "$pool" >/dev/null 2>&1 || prefect work-pool create "$pool" --type process
done
exec prefect --no-prompt deploy --all --prefect-file deploy/prefect.yaml

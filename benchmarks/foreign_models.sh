#!/usr/bin/env bash
# Networks of other packages under the tester that every network of the catalogue has to pass.
#
#     bash benchmarks/foreign_models.sh [FOLDER]
#
# segmentation-models-pytorch and torchvision are no part of Penumbra's environment: torchvision's
# Linux wheels are tied to one build of torch each. So they get an environment of their own in
# FOLDER (default: .foreign-venv, made once), where the tester runs for them beside MONAI's and
# Hugging Face's, and where VGG-16 is compared with torchvision's. What came out is kept in
# benchmarks/results/foreign-models.json and shown in docs/results.md. Nothing but packages is
# downloaded: every network begins with random weights.
#
#     FOREIGN_TORCH_INDEX   pip's index for torch and torchvision, such as that of builds for CPUs
#                           (default: what pip is set to; on Linux those builds bring CUDA along)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder="${1:-.foreign-venv}"
index=()
if [ -n "${FOREIGN_TORCH_INDEX:-}" ]; then
    index=(--index-url "$FOREIGN_TORCH_INDEX")
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}" HF_HUB_OFFLINE=1 PYTHONNOUSERSITE=1
unset PYTHONPATH PYTHONHOME

if [ ! -x "$folder/bin/python" ]; then
    python3 -m venv "$folder"
fi
python="$folder/bin/python"
if ! "$python" -c 'import torchvision, segmentation_models_pytorch, penumbra' 2>/dev/null; then
    # Together, so that pip finds a torchvision that was built for this torch.
    "$python" -m pip install --disable-pip-version-check torch torchvision \
        ${index[@]+"${index[@]}"}
    "$python" -m pip install --disable-pip-version-check --editable '.[test]' \
        segmentation-models-pytorch
fi

junit="$(mktemp)"
status=0
"$python" -m pytest tests/models/test_architectures.py tests/models/test_wrap.py tests/models/test_vgg.py \
    --junitxml="$junit" -rs || status=$?
"$python" benchmarks/_foreign_record.py "$junit"
exit "$status"

#!/usr/bin/env bash
# Sets the peers up in a folder outside of the checkout, and measures everything beside them: benches/peers/run.sh FOLDER
# What is there already stays. README.md says what is compared.
set -euo pipefail

peers="$(realpath -m "${1:?usage: benches/peers/run.sh FOLDER}")"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p "$peers"

if [[ ! -x "$peers/venv/bin/python" ]]; then
  python3 -m venv "$peers/venv"
fi
"$peers/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 safetensors==0.8.0 numpy==2.4.6
npm install --silent --prefix "$peers" puppeteer-core@24.43.1 onnxruntime-web@1.30.0
cargo xtask weights
cargo xtask package
[[ -f "$peers/minilm.onnx" ]] || "$peers/venv/bin/python" benches/peers/onnx_minilm.py --fused "$peers/minilm.onnx"
[[ -f "$peers/lite0.onnx" ]] || "$peers/venv/bin/python" benches/peers/onnx_lite0.py "$peers/lite0.onnx"

echo "# Natively"
"$peers/venv/bin/python" benches/peers/native.py "$peers/minilm.onnx" --photo "$peers/lite0.onnx"
echo "# In the browser"
node benches/peers/browser.mjs --npm "$peers" --onnx "$peers/minilm.onnx" --int8 "$peers/minilm.int8.onnx" \
  --photo "$peers/lite0.onnx" --gpu-runs 3 --gpu-photos 1

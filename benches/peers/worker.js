// One subject in a worker of its own: "start" loads it and gives its first result, "pass" runs it once more.
const memories = new Set();
const { Memory, instantiate, instantiateStreaming } = WebAssembly;

// Neither library hands out all of its memory, so it is noted as it is made.
WebAssembly.Memory = class extends Memory {
  constructor(options) {
    super(options);
    memories.add(this);
  }
};
const noting = (make) => async (...rest) => {
  const made = await make(...rest);
  for (const value of Object.values((made.instance ?? made).exports)) if (value instanceof Memory) memories.add(value);
  return made;
};
WebAssembly.instantiate = noting(instantiate);
WebAssembly.instantiateStreaming = noting(instantiateStreaming);

const bytes = async (address) => {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
};

async function peer(device, graph) {
  const bundle = device === "webgpu" ? "ort.webgpu.min.mjs" : "ort.wasm.min.mjs";
  const ort = await import(`/ort/${bundle}`);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = "/ort/";
  const session = await ort.InferenceSession.create(await bytes(graph), {
    executionProviders: [device === "webgpu" ? "webgpu" : "wasm"],
    graphOptimizationLevel: "all",
  });
  return { ort, session };
}

const encoder = (graph) => async (device) => {
  const { ort, session } = await peer(device, graph);
  return async (pieces) => {
    const ids = BigInt64Array.from({ length: pieces }, (_, i) => (i === 0 ? 101n : i === pieces - 1 ? 102n : 1037n));
    const { last_hidden_state: state } = await session.run({ input_ids: new ort.Tensor("int64", ids, [1, pieces]) });
    const values = await state.getData();
    if (values.length !== pieces * 384 || !values.every(Number.isFinite)) throw new Error("not a hidden state");
  };
};

// The encoders get the same pieces: [CLS], "a" as often as needed, [SEP].
const subjects = {
  ort: encoder("/minilm.onnx"),
  int8: encoder("/int8.onnx"),
  async cnn(device) {
    const { ort, session } = await peer(device, "/lite0.onnx");
    const [name] = session.inputNames;
    const pixels = Float32Array.from({ length: 3 * 256 * 256 }, (_, i) => Math.sin(i * 1e-3));
    return async () => {
      const given = await session.run({ [name]: new ort.Tensor("float32", pixels, [1, 3, 256, 256]) });
      const values = await given[session.outputNames[0]].getData();
      if (!values.every(Number.isFinite)) throw new Error("not a map");
    };
  },
  async muse(device) {
    const glue = await import(`/muse/${device}/muse_web.js`);
    const module = await glue.default({ module_or_path: `/muse/${device}/muse_web_bg.wasm` });
    module.__wasm_call_ctors();
    const muse = await glue.Muse.load(await bytes("/model.muse"), device);
    if (JSON.parse(muse.device).kind !== device) throw new Error(`it runs on ${muse.device}`);
    const [width, height] = [640, 480];
    const pixels = new Uint8Array(width * height * 4).map((_, i) => (i * 7919) % 251);
    let picture;
    return async (pieces, photo) => {
      if (photo === "first") {
        picture?.free();
        picture = glue.Picture.fromRgba(pixels, width, height);
      }
      const caption = Array(pieces - 2).fill("a").join(" ");
      const job = muse.job(false);
      if (photo) job.addWithPicture(caption, picture);
      else job.add(caption);
      while (await job.look());
      while (await job.read(1));
      const [answer] = JSON.parse(job.finish());
      if (answer.pieces !== pieces) throw new Error(`${answer.pieces} pieces, not ${pieces}`);
      const errors = JSON.parse(glue.takeLog()).filter(({ level }) => level === "error");
      if (errors.length) throw new Error(errors[0].message);
    };
  },
};

let run;
onmessage = async ({ data: { subject, device, pieces, photo } }) => {
  try {
    run ??= await subjects[subject](device);
    const from = performance.now();
    await run(pieces, photo);
    const took = performance.now() - from;
    const memory = [...memories].reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
    const loaded = performance.getEntriesByType("resource").reduce((sum, entry) => sum + entry.encodedBodySize, 0);
    postMessage({ took, memory, loaded });
  } catch (error) {
    postMessage({ failed: `${subject} on ${device}: ${error.stack ?? error}` });
  }
};

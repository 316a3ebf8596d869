// A video with the published client, which takes 2 s to connect. In: SERVER, KEY, IMAGE and VIDEO as data URIs, MISSING.
// Out: one line of JSON.
const { Runware } = require("@runware/sdk-js");

async function code(promise) {
  try {
    await promise;
    return "";
  } catch (failure) {
    return failure?.error?.code ?? String(failure);
  }
}

async function main() {
  const { SERVER: server, KEY: key, IMAGE: image, VIDEO: video, MISSING: missing } = process.env;
  // docs: runware, npm `@runware/sdk-js`
  const url = server.replace("http", "ws") + "/runware/v1";
  const client = await Runware.initialize({ apiKey: key, url });
  // end
  const asked = {
    model: "prunaai:p-video@animate",
    inputs: { referenceImages: [image], referenceVideos: [video] },
    seed: 5,
    numberResults: 2,
  };
  const videos = await client.videoInference(asked);
  const failing = { ...asked, inputs: { ...asked.inputs, referenceVideos: [missing] } };
  const answers = {
    videos: videos.map((one) => [one.seed, one.videoURL]),
    bad: await code(client.videoInference({ ...asked, fps: 30 })),
    unknown: await code(client.getResponse({ taskUUID: "00000000-0000-4000-8000-000000000000" })),
    failed: await code(client.videoInference(failing)),
    wrongKey: await code(Runware.initialize({ apiKey: "wrong", url, shouldReconnect: false })),
  };
  console.log(JSON.stringify(answers));
  process.exit(0);
}

main();

// Predictions with the published client, which writes its requests to standard output. In: SERVER, KEY, IMAGE and VIDEO
// as data URIs, MISSING. Out: JSON on the last line.
const Each = require("@eachlabs/aiflow");

async function failure(promise) {
  try {
    await promise;
    return "";
  } catch (error) {
    return error.message;
  }
}

async function main() {
  const { SERVER: server, KEY: key, IMAGE: image, VIDEO: video, MISSING: missing } = process.env;
  // docs: eachlabs, npm `@eachlabs/aiflow`
  const apiBaseUrl = server + "/eachlabs/v1";
  const each = new Each({ auth: key, apiBaseUrl });
  // end
  const stranger = new Each({ auth: "wrong", apiBaseUrl });
  const input = { image_url: image, video_url: video, num_inference_steps: 1 };
  const asked = { model: "wan-v2-2-14b-animate-move", version: "0.0.1", input };
  const created = await each.prediction.create(asked);
  const failing = await each.prediction.create({ ...asked, input: { ...input, video_url: missing } });
  async function ended(id) {
    let prediction = await each.prediction.get(id);
    while (!["success", "error"].includes(prediction.status)) {
      await new Promise((resolve) => setTimeout(resolve, 300));
      prediction = await each.prediction.get(id);
    }
    return prediction;
  }
  const answers = {
    url: (await ended(created.predictionID)).output,
    failed: (await ended(failing.predictionID)).output.error,
    bad: await failure(each.prediction.create({ ...asked, input: { ...input, shift: 11 } })),
    unknown: await failure(each.prediction.get("unknown")),
    late: await failure(each.prediction.cancel(created.predictionID)),
    wrongKey: await failure(stranger.prediction.get(created.predictionID)),
  };
  console.log(JSON.stringify(answers));
}

main();

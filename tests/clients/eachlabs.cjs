// Predictions with the published client, which writes its requests to standard output. Out: JSON on the last line.
const fs = require("node:fs");
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
  const each = new Each({ auth: process.env.KEY, apiBaseUrl: process.env.BASE });
  const stranger = new Each({ auth: "wrong", apiBaseUrl: process.env.BASE });
  const uri = (kind, path) => `data:${kind};base64,${fs.readFileSync(path).toString("base64")}`;
  const input = { image_url: uri("image/png", process.env.IMAGE), video_url: uri("video/mp4", process.env.VIDEO) };
  const asked = { model: "wan-v2-2-14b-animate-replace", version: "0.0.1", input };
  const created = await each.prediction.create(asked);
  let prediction = await each.prediction.get(created.predictionID);
  while (!["success", "error"].includes(prediction.status)) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    prediction = await each.prediction.get(created.predictionID);
  }
  const bytes = Buffer.from(await (await fetch(prediction.output)).arrayBuffer());
  const run = await each.prediction.run(asked);
  const answers = {
    status: prediction.status,
    size: bytes.length,
    run: run.status,
    bad: await failure(each.prediction.create({ ...asked, input: { ...input, shift: 11 } })),
    unknown: await failure(each.prediction.get("unknown")),
    late: await failure(each.prediction.cancel(created.predictionID)),
    wrongKey: await failure(stranger.prediction.get(created.predictionID)),
  };
  console.log(JSON.stringify(answers));
}

main();

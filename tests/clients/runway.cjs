// Act-Two with the published client. In: the client's own variables, IMAGE as a data URI, VIDEO_FILE, MISSING.
// Out: one line of JSON.
const fs = require("node:fs");
const { default: RunwayML, toFile } = require("@runwayml/sdk");

async function status(promise) {
  try {
    await promise;
    return 200;
  } catch (error) {
    return error.status ?? error.taskDetails?.status ?? String(error);
  }
}

async function main() {
  const { RUNWAYML_API_SECRET: key, SERVER: server } = process.env;
  // docs: runway, npm `@runwayml/sdk`
  const baseURL = server + "/runway"; // or the environment: RUNWAYML_BASE_URL
  const client = new RunwayML({ apiKey: key, baseURL, maxRetries: 0 });
  // end
  const stranger = new RunwayML({ apiKey: "wrong", baseURL, maxRetries: 0 });
  const file = await toFile(fs.readFileSync(process.env.VIDEO_FILE), "b.mp4");
  const { uri } = await client.uploads.createEphemeral({ file });
  const asked = {
    model: "act_two",
    character: { type: "image", uri: process.env.IMAGE },
    reference: { type: "video", uri },
    seed: 5,
  };
  const task = await client.characterPerformance.create(asked).waitForTaskOutput({ timeout: 120000 });
  const failing = { ...asked, reference: { type: "video", uri: process.env.MISSING } };
  const answers = {
    video: Buffer.from(await (await fetch(task.output[0])).arrayBuffer()).toString("base64"),
    bad: await status(client.characterPerformance.create({ ...asked, expressionIntensity: 6 })),
    unknown: await status(client.tasks.retrieve("00000000-0000-4000-8000-000000000000")),
    failed: await status(client.characterPerformance.create(failing).waitForTaskOutput({ timeout: 60000 })),
    wrongKey: await status(stranger.organization.retrieve()),
    deleted: await status(client.tasks.delete(task.id)),
    gone: await status(client.tasks.retrieve(task.id)),
  };
  console.log(JSON.stringify(answers));
}

main();

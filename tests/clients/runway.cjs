// Act-Two with the published client. In: the API's base and a key in the environment as the client reads them, the
// inputs as files. Out: one line of JSON.
const fs = require("node:fs");
const { default: RunwayML, toFile } = require("@runwayml/sdk");

async function status(promise) {
  try {
    await promise;
    return 200;
  } catch (error) {
    return error.status;
  }
}

async function main() {
  const client = new RunwayML({ maxRetries: 0 });
  const stranger = new RunwayML({ maxRetries: 0, apiKey: "wrong" });
  const image = `data:image/png;base64,${fs.readFileSync(process.env.IMAGE).toString("base64")}`;
  const file = await toFile(fs.readFileSync(process.env.VIDEO), "b.mp4");
  const { uri } = await client.uploads.createEphemeral({ file });
  const asked = {
    model: "act_two",
    character: { type: "image", uri: image },
    reference: { type: "video", uri },
    ratio: "1280:720",
    seed: 5,
  };
  const created = client.characterPerformance.create(asked);
  const task = await created.waitForTaskOutput({ timeout: 30000 });
  const bytes = Buffer.from(await (await fetch(task.output[0])).arrayBuffer());
  const answers = {
    status: task.status,
    size: bytes.length,
    bad: await status(client.characterPerformance.create({ ...asked, bodyControl: false })),
    unknown: await status(client.tasks.retrieve("00000000-0000-4000-8000-000000000000")),
    wrongKey: await status(stranger.organization.retrieve()),
    deleted: await status(client.tasks.delete(task.id)),
    gone: await status(client.tasks.retrieve(task.id)),
  };
  console.log(JSON.stringify(answers));
}

main();

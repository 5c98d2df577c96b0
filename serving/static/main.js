import { ask } from "./api.js";
import * as births from "./births.js";
import * as cartpole from "./cartpole.js";
import * as digits from "./digits.js";

async function showModels() {
  const names = ["babyweight", "mnist", "cartpole"];
  const found = await Promise.all(
    names.map(async (name) => {
      try {
        const { model_version_status: versions } = await ask(`/v1/models/${name}`);
        const newest = versions.find((version) => version.state === "AVAILABLE");
        return `${name} ${newest ? `version ${newest.version}` : "(not available)"}`;
      } catch {
        return `${name} (not published)`;
      }
    }),
  );
  document.getElementById("models").textContent = found.join(", ");
}

for (const panel of [births, digits, cartpole]) panel.start();
showModels();

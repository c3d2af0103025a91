// Twilio's Node SDK with its client for signed requests, against a sandbox that enforces them; and the newer APIs.
// Reads where the sandbox is, and its credentials, as JSON from standard input; the argument is the folder of modules.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { refused } from "./refused.mjs";

const modules = createRequire(`${process.argv[2]}/`);
const twilio = modules("twilio");
const { version } = modules("twilio/package.json");
const told = JSON.parse(readFileSync(0, "utf8"));
const { account } = told;

function client(user, password, signs = true) {
  const validationClient = {
    accountSid: account,
    credentialSid: told.public_key,
    signingKey: user,
    privateKey: told.private_key,
    algorithm: told.algorithm,
  };
  const made = twilio(user, password, signs ? { accountSid: account, validationClient } : { accountSid: account });
  for (const product of [made.api, made.accounts, made.iam]) product.baseUrl = told.url;
  return made;
}

const main = client(...told.main);

// Keys of the older API. Of further pages this library signs no query, so there is one page only.
const made = await main.newKeys.create({ friendlyName: "signed" });
assert.ok((await main.keys.list({ pageSize: 100 })).some((key) => key.sid === made.sid));

// IAM: a Restricted key.
const policy = { allow: ["/twilio/messaging/messages/list"] };
const restricted = await main.iam.v1.newApiKey.create({
  accountSid: account, friendlyName: "few", keyType: "restricted", policy: JSON.stringify(policy),
});
assert.deepEqual(restricted.policy, policy);
assert.deepEqual((await main.iam.v1.apiKey(restricted.sid).fetch()).policy, policy);
const listed = await main.iam.v1.getApiKeys.list({ accountSid: account, pageSize: 100 });
assert.deepEqual(listed.find((key) => key.sid === restricted.sid).flags, ["restricted", "rest_api", "signing"]);
const few = client(restricted.sid, restricted.secret);
assert.equal((await few.messages.list({ pageSize: 20 })).length, 3);
await refused(401, 70051, () => few.incomingPhoneNumbers.list({ pageSize: 20 }));

// Public keys.
const keys = main.accounts.v1.credentials.publicKey;
const other = await keys.create({ publicKey: told.public_pem, friendlyName: "other" });
assert.ok((await keys.list({ pageSize: 100 })).some((key) => key.sid === other.sid));
assert.equal((await keys(other.sid).update({ friendlyName: "renamed" })).friendlyName, "renamed");
assert.equal((await keys(other.sid).fetch()).accountSid, account);
assert.ok(await keys(other.sid).remove());

// Without a signature.
await refused(401, 70052, () => client(...told.main, false).keys.list());

assert.ok(await main.keys(made.sid).remove());
console.log(`twilio ${version}: all signed`);

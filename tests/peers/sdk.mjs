// Twilio's Node SDK against the sandbox: everything rekeyd needs from Twilio, as Twilio's own client sees it.
// Reads where the sandbox is, and its credentials, as JSON from standard input; the argument is the folder of modules.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { refused } from "./refused.mjs";

const modules = createRequire(`${process.argv[2]}/`);
const twilio = modules("twilio");
const { version } = modules("twilio/package.json");
const told = JSON.parse(readFileSync(0, "utf8"));
const { account, subaccount } = told;

function client(user, password) {
  const made = twilio(user, password, { accountSid: account });
  for (const domain of [made.api, made.accounts, made.monitor]) {
    domain.baseUrl = told.url;
  }
  return made;
}

async function nextCreateMeets(fault) {
  const answer = await fetch(`${told.url}/_sandbox/script`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify([{ operation: "create_key", fault }]),
  });
  assert.equal(answer.status, 204);
}

const main = client(...told.main);

// Keys: create, list over several pages, fetch, update.
const made = [];
for (let n = 0; n < 5; n += 1) {
  made.push(await main.newKeys.create({ friendlyName: `node ${n}` }));
}
assert.ok(made.every((key) => key.secret.length === 32 && key.sid.startsWith("SK")));
assert.ok(made[0].dateCreated instanceof Date && !Number.isNaN(made[0].dateCreated.valueOf()));
const listed = await main.keys.list({ pageSize: 2 });
assert.deepEqual(listed.map((key) => key.sid), [...made.map((key) => key.sid).reverse(), told.main[0]]);
const first = made[0];
assert.equal((await main.keys(first.sid).fetch()).friendlyName, "node 0");
assert.equal((await main.keys(first.sid).update({ friendlyName: "renamed" })).friendlyName, "renamed");

// The same resource under its other name.
const signing = await main.newSigningKeys.create({ friendlyName: "signing" });
assert.ok((await main.signingKeys.list()).some((key) => key.sid === signing.sid));

// Accounts: fetch and list. An API key does not see tokens, a token does.
const own = await main.api.v2010.accounts(account).fetch();
assert.deepEqual([own.status, own.authToken], ["active", ""]);
assert.equal((await main.api.v2010.accounts(subaccount).fetch()).ownerAccountSid, account);
const accounts = await main.api.v2010.accounts.list();
assert.deepEqual(accounts.map((found) => found.sid).sort(), [account, subaccount]);
const opened = await main.api.v2010.accounts.create({ friendlyName: "opened" });
assert.deepEqual([opened.friendlyName, opened.status, opened.ownerAccountSid], ["opened", "active", account]);
assert.equal((await main.api.v2010.accounts(opened.sid).update({ status: "suspended" })).status, "suspended");
const suspended = await main.api.v2010.accounts.list({ status: "suspended" });
assert.deepEqual(suspended.map((found) => found.sid), [opened.sid]);
const gone = await main.api.v2010.accounts(opened.sid).update({ status: "closed", friendlyName: "gone" });
assert.equal(gone.friendlyName, "gone");
const token = client(account, told.token);
assert.equal((await token.api.v2010.accounts(account).fetch()).authToken, told.token);
assert.equal((await token.api.v2010.accounts(subaccount).newKeys.create()).friendlyName, null);

// Ordinary resources with the new key, page by page; what it may not do.
const consumer = client(first.sid, first.secret);
assert.equal((await consumer.messages.list({ pageSize: 1 })).length, 3);
assert.equal((await consumer.incomingPhoneNumbers.list({ limit: 1 })).length, 1);
await refused(401, 20003, () => consumer.api.v2010.accounts(account).fetch());
await refused(401, 20003, () => consumer.keys.list());

// Refusals.
await refused(400, 70001, () => main.newKeys.create({ friendlyName: "x".repeat(65) }));
await refused(400, 70002, () => main.keys(account).fetch());
await refused(404, 20404, () => main.keys(`SK${"0".repeat(32)}`).fetch());
await nextCreateMeets("rate_limited");
await refused(429, 20429, () => main.newKeys.create());

// The end of a key.
assert.ok(await main.keys(first.sid).remove());
await refused(404, 20404, () => main.keys(first.sid).remove());
await refused(401, 20003, () => consumer.messages.list());

// Auth tokens: a second one beside the first, deleted, made anew and promoted. Two changes of four are told by mail.
const tokens = token.accounts.v1.secondaryAuthToken;
await refused(401, 20003, () => main.accounts.v1.secondaryAuthToken().create());
let second = await tokens().create({ suppressEmailNotification: true });
assert.deepEqual([second.accountSid, second.secondaryAuthToken.length], [account, 32]);
assert.ok(second.dateCreated instanceof Date && !Number.isNaN(second.dateCreated.valueOf()));
await refused(400, 70002, () => tokens().create());
assert.ok(await tokens().remove({ suppressEmailNotification: true }));
await refused(404, 20404, () => tokens().remove());
await refused(404, 20404, () => token.accounts.v1.authTokenPromotion().update());
second = await tokens().create();
const beside = client(account, second.secondaryAuthToken);
assert.equal((await beside.api.v2010.accounts(account).fetch()).authToken, told.token);
assert.equal((await beside.accounts.v1.authTokenPromotion().update()).authToken, second.secondaryAuthToken);
assert.equal((await beside.api.v2010.accounts(account).fetch()).authToken, second.secondaryAuthToken);
await refused(401, 20003, () => token.api.v2010.accounts(account).fetch());

// Events, page by page: what became of the first key, and of the tokens.
const { events } = main.monitor.v1;
const story = (await events.list({ resourceSid: first.sid, pageSize: 2 })).map((event) => [event.eventType, event.source]);
assert.deepEqual(story, ["deleted", "updated", "created"].map((word) => [`account-api-keys.${word}`, "api"]));
const promoted = await events.list({ eventType: "account-auth-token.promoted" });
const actors = promoted.map((event) => [event.actorSid, event.actorType, event.resourceSid]);
assert.deepEqual(actors, [[account, "account", account]]);
const shown = await events(promoted[0].sid).fetch();
assert.deepEqual(shown.eventDate, promoted[0].eventDate);
assert.deepEqual(await events.list({ startDate: new Date(shown.eventDate.valueOf() + 1000) }), []);
assert.ok((await events.list({ endDate: shown.eventDate, actorSid: account })).length > 10);
await refused(404, 20404, () => events(`AE${"f".repeat(32)}`).fetch());

console.log(`twilio ${version}: all checks passed`);

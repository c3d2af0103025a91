// What Twilio's Node SDK makes of a refusal.

import assert from "node:assert/strict";

export async function refused(status, code, call) {
  await assert.rejects(call, (error) => {
    assert.deepEqual([error.status, error.code], [status, code], String(error));
    return true;
  });
}

-- Subaccounts that are being made, or were: how far each has come, and the number of the last entry.
CREATE TABLE subaccount (
    name TEXT   PRIMARY KEY,
    seq  BIGINT NOT NULL,
    body TEXT   NOT NULL
);

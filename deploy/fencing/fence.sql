-- A fence for rows of your own: a write by a holder that has lost its lock changes nothing.
--
-- Keep the highest token beside what it protects, and compare and write in one statement. Works as it stands in
-- SQLite, PostgreSQL and MySQL; the token is an integer below 2^53.

CREATE TABLE fenced_documents (
    id    TEXT PRIMARY KEY,
    body  TEXT NOT NULL,
    fence BIGINT NOT NULL DEFAULT 0
);

-- :token is LockGrant.locks[].token. One row changed: written. None: the token is stale (or there is no such
-- row): stop, and do not try again.
UPDATE fenced_documents
   SET body = :body, fence = :token
 WHERE id = :id AND fence <= :token;

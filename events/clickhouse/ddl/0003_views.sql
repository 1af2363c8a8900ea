-- Current state: views over the history. Each reads everything up to now; who needs an earlier
-- instant or position asks the tables with `pos <= …` in the same way.

-- Where a merged person went: every loser with everyone it was merged into, directly or by a chain,
-- and since which position. A person is also there as its own ancestor since 0 if it ever lost.
CREATE OR REPLACE VIEW person_paths{{onCluster}} AS
WITH RECURSIVE paths AS
(
    SELECT loser AS person, winner AS ancestor, min(pos) AS since FROM merges GROUP BY loser, winner
    UNION ALL
    SELECT p.person, m.winner AS ancestor, greatest(p.since, m.pos) AS since
    FROM paths AS p INNER JOIN (SELECT loser, winner, min(pos) AS pos FROM merges GROUP BY loser, winner) AS m ON m.loser = p.ancestor
    WHERE m.winner != p.person
)
SELECT person, ancestor, min(since) AS since FROM paths GROUP BY person, ancestor
;
-- loser → the canonical person now. Who never lost is not in it: read with a LEFT JOIN or
-- `if(m.winner = 0, person, m.winner)`.
CREATE OR REPLACE VIEW person_map{{onCluster}} AS
SELECT person AS loser, argMax(ancestor, (since, ancestor)) AS winner FROM person_paths
WHERE ancestor NOT IN (SELECT loser FROM merges)
GROUP BY person
;
CREATE OR REPLACE VIEW people{{onCluster}} AS
SELECT
    if(m.winner = 0, i.person, m.winner) AS person,
    min(i.time) AS created_at,
    argMaxIf(i.id, i.pos, i.kind = 'user') AS user_id,
    argMaxIf(i.id, i.pos, i.kind = 'anonymous') AS anonymous_id
FROM identities AS i LEFT JOIN person_map AS m ON m.loser = i.person
GROUP BY person
;
CREATE OR REPLACE VIEW traits_current{{onCluster}} AS
SELECT
    if(m.winner = 0, t.person, m.winner) AS person,
    t.key AS key,
    argMax(t.value, (t.time, t.pos)) AS value,
    argMax(tuple(t.num), (t.time, t.pos)).1 AS num,
    argMax(tuple(t.str), (t.time, t.pos)).1 AS str,
    max(t.time) AS time
FROM traits AS t LEFT JOIN person_map AS m ON m.loser = t.person
GROUP BY person, key
HAVING value != 'null'
;
-- A token belongs to the last person to identify on it.
CREATE OR REPLACE VIEW devices_current{{onCluster}} AS
SELECT
    if(m.winner = 0, d.person, m.winner) AS person,
    d.token AS token, d.platform AS platform, d.app AS app, d.environment AS environment, d.last_seen AS last_seen
FROM
(
    SELECT
        r.token AS token,
        argMax(r.person, (r.time, r.pos)) AS person,
        argMax(r.platform, (r.time, r.pos)) AS platform,
        argMax(r.app, (r.time, r.pos)) AS app,
        argMax(r.environment, (r.time, r.pos)) AS environment,
        max(r.last_seen) AS last_seen,
        argMax(r.removed, (r.time, r.pos)) AS removed
    FROM devices AS r GROUP BY r.token
) AS d LEFT JOIN person_map AS m ON m.loser = d.person
WHERE NOT d.removed
;
-- The last word of a person on a channel and category. At a merge, opt-out wins between what the
-- merged people had said; what the united person says later stands by itself.
CREATE OR REPLACE VIEW consents_current{{onCluster}} AS
WITH
    lasts AS
    (
        SELECT c.person AS person, c.channel AS channel, c.category AS category,
            argMax(c.granted, (c.time, c.pos)) AS granted, max(c.time) AS time, max(c.pos) AS pos
        FROM consents AS c GROUP BY c.person, c.channel, c.category
    ),
    overridden AS
    (
        SELECT DISTINCT l.person AS person, l.channel AS channel, l.category AS category
        FROM lasts AS l
        INNER JOIN person_paths AS p ON p.person = l.person
        INNER JOIN lasts AS later ON later.person = p.ancestor AND later.channel = l.channel AND later.category = l.category
        WHERE later.pos > p.since
    )
SELECT
    if(m.winner = 0, l.person, m.winner) AS person,
    l.channel AS channel,
    l.category AS category,
    toBool(min(l.granted)) AS granted,
    max(l.time) AS time
FROM lasts AS l LEFT JOIN person_map AS m ON m.loser = l.person
WHERE (l.person, l.channel, l.category) NOT IN (SELECT person, channel, category FROM overridden)
GROUP BY person, channel, category
;
-- The answer of each entry: its last row.
CREATE OR REPLACE VIEW ledger{{onCluster}} AS
SELECT * FROM decisions
ORDER BY at DESC, seq DESC, `index` DESC
LIMIT 1 BY entry

-- A database as the original writes it: its tables, rows of each, and what long use leaves behind. Password of alice: "original password".
CREATE TABLE _schema_version (id INTEGER PRIMARY KEY, created TIMESTAMP DEFAULT CURRENT_TIMESTAMP, name TEXT UNIQUE);
CREATE TABLE iplog (day TEXT NOT NULL, ip TEXT NOT NULL, bytes_sent INT DEFAULT 0, bytes_recv INT DEFAULT 0, PRIMARY KEY (day, ip));
CREATE TABLE user (id INTEGER PRIMARY KEY, created TIMESTAMP DEFAULT CURRENT_TIMESTAMP, email TEXT NOT NULL, pwhash TEXT NOT NULL,
  emailverified TINYINT DEFAULT 0, blocked TINYINT DEFAULT 0, recentlicensehash TEXT DEFAULT '', UNIQUE (email));
CREATE TABLE userlog (day TEXT NOT NULL, user_id INTEGER, bytes_sent INT DEFAULT 0, bytes_recv INT DEFAULT 0, PRIMARY KEY (day, user_id),
  FOREIGN KEY (user_id) REFERENCES user(id));
CREATE TABLE emailtoken (id INTEGER PRIMARY KEY, expires TIMESTAMP DEFAULT (datetime('now', '+1 hour')), user_id INTEGER NOT NULL,
  token TEXT, FOREIGN KEY (user_id) REFERENCES user(id));
CREATE TABLE pwreset (id INTEGER PRIMARY KEY, expires TIMESTAMP DEFAULT (datetime('now', '+1 hour')), user_id INTEGER NOT NULL,
  token TEXT, FOREIGN KEY (user_id) REFERENCES user(id));
CREATE TABLE disabledlicense (licensehash TEXT PRIMARY KEY);
INSERT INTO _schema_version (name) VALUES ('initial');
INSERT INTO user VALUES
  (1, '2024-02-03 04:05:06', 'alice@example.com', '$argon2id$v=19$m=9765,t=3,p=1$768eL9AZzudYWn+jKfDtbg$Oq7+uASDEv6uPzwk7xM8Q5YWc+NCTBqeBu3ajtfVYf4', 1, 0, ''),
  (2, '2024-02-03 04:05:07', 'blocked@example.com', '$argon2id$v=19$m=9765,t=3,p=1$768eL9AZzudYWn+jKfDtbg$Oq7+uASDEv6uPzwk7xM8Q5YWc+NCTBqeBu3ajtfVYf4', 1, 1, ''),
  (3, '2024-02-03 04:05:08', 'unverified@example.com', '$argon2id$v=19$m=9765,t=3,p=1$768eL9AZzudYWn+jKfDtbg$Oq7+uASDEv6uPzwk7xM8Q5YWc+NCTBqeBu3ajtfVYf4', 0, 0, ''),
  (4, '2024-02-03 04:05:09', 'licensed@example.com', '', 1, 0, '7F9021C94B47B5B782EE772B7F57FDA9ED26540B'),
  (5, '2024-02-03 04:05:10', 'old@example.com', '$argon2id$v=19$m=9765,t=3,p=1$768eL9AZzudYWn+jKfDtbg$Oq7+uASDEv6uPzwk7xM8Q5YWc+NCTBqeBu3ajtfVYf4', 1, 0, NULL);
INSERT INTO emailtoken (user_id, token) VALUES (3, '0123456789ABCDEF0123456789ABCDEF');
INSERT INTO pwreset (user_id, token) VALUES (1, 'FEDCBA9876543210FEDCBA9876543210');
INSERT INTO disabledlicense VALUES ('7F9021C94B47B5B782EE772B7F57FDA9ED26540B');
INSERT INTO userlog VALUES (date('now'), 1, 1000, 2000), (date('now', '-1 day'), 1, 10, 20), (date('now', '-5 day'), 5, 7, 7),
  (date('now', '-40 day'), 1, 500, 500);
INSERT INTO iplog VALUES (date('now'), '192.0.2.1', 1000, 2000), (date('now', '-1 day'), '192.0.2.1', 10, 20),
  (date('now', '-5 day'), '2001:db8::1', 7, 7), (date('now', '-40 day'), '192.0.2.1', 500, 500);

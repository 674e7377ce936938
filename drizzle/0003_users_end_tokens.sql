CREATE TRIGGER `users_end_tokens` AFTER UPDATE OF `disabled_at`, `role` ON `users`
WHEN (new.disabled_at IS NOT NULL AND old.disabled_at IS NULL) OR new.role <> old.role
BEGIN
	INSERT INTO `revocations` (`subject`, `at`)
	VALUES (new.id, CAST(unixepoch('subsec') * 1000 AS INTEGER));
END;

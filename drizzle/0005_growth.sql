CREATE TABLE `meta` (
	`name` text PRIMARY KEY NOT NULL,
	`value` text NOT NULL
);
--> statement-breakpoint
DROP INDEX `sessions_user`;--> statement-breakpoint
CREATE INDEX `sessions_user_created` ON `sessions` (`user_id`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `sessions_expires` ON `sessions` (`expires_at`);--> statement-breakpoint
ALTER TABLE `devices` ADD `name_folded` text;--> statement-breakpoint
CREATE INDEX `devices_unfolded` ON `devices` (`id`) WHERE name_folded is null;--> statement-breakpoint
ALTER TABLE `purges` ADD `user_id` text DEFAULT '' NOT NULL;--> statement-breakpoint
CREATE INDEX `purges_user` ON `purges` (`user_id`,`at`,`device_id`);--> statement-breakpoint
ALTER TABLE `revocations` ADD `owner_id` text;--> statement-breakpoint
ALTER TABLE `users` ADD `max_devices` integer;--> statement-breakpoint
ALTER TABLE `users` ADD `device_count` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
CREATE INDEX `devices_user_folded` ON `devices` (`user_id`, coalesce(`name_folded`, lower(`name`)), `id`);
--> statement-breakpoint
UPDATE `users` SET `device_count` = (SELECT count(*) FROM `devices` WHERE `devices`.`user_id` = `users`.`id`);
--> statement-breakpoint
CREATE TRIGGER `devices_count_up` AFTER INSERT ON `devices`
BEGIN
	UPDATE `users` SET `device_count` = `device_count` + 1 WHERE `id` = new.user_id;
END;
--> statement-breakpoint
CREATE TRIGGER `devices_count_down` AFTER DELETE ON `devices`
BEGIN
	UPDATE `users` SET `device_count` = `device_count` - 1 WHERE `id` = old.user_id;
END;
--> statement-breakpoint
CREATE TRIGGER `devices_unfold` AFTER UPDATE OF `name` ON `devices`
WHEN new.name IS NOT old.name AND new.name_folded IS old.name_folded
BEGIN
	UPDATE `devices` SET `name_folded` = NULL WHERE `id` = new.id;
END;
--> statement-breakpoint
DROP TRIGGER `users_end_tokens`;
--> statement-breakpoint
CREATE TRIGGER `users_end_tokens` AFTER UPDATE OF `disabled_at`, `role` ON `users`
WHEN (new.disabled_at IS NOT NULL AND old.disabled_at IS NULL) OR new.role <> old.role
BEGIN
	INSERT INTO `revocations` (`subject`, `owner_id`, `at`)
	VALUES (new.id, new.id, CAST(unixepoch('subsec') * 1000 AS INTEGER));
END;
--> statement-breakpoint
DROP TRIGGER `audit_events_no_delete`;
--> statement-breakpoint
DROP TRIGGER `audit_events_no_update`;
--> statement-breakpoint
CREATE TRIGGER `audit_events_keep_the_young` BEFORE DELETE ON `audit_events`
WHEN old.at > (unixepoch('subsec') - 90 * 86400) * 1000
BEGIN
	SELECT RAISE(ABORT, 'audit_events keeps its rows for 90 days');
END;
--> statement-breakpoint
CREATE TRIGGER `audit_events_only_lose_ip` BEFORE UPDATE ON `audit_events`
WHEN old.at > (unixepoch('subsec') - 7 * 86400) * 1000
	OR new.ip IS NOT NULL
	OR new.id IS NOT old.id
	OR new.at IS NOT old.at
	OR new.user_id IS NOT old.user_id
	OR new.action IS NOT old.action
	OR new.actor_type IS NOT old.actor_type
	OR new.actor_id IS NOT old.actor_id
	OR new.device_id IS NOT old.device_id
	OR new.key_id IS NOT old.key_id
	OR new.request_id IS NOT old.request_id
	OR new.before IS NOT old.before
	OR new.after IS NOT old.after
BEGIN
	SELECT RAISE(ABORT, 'audit_events is append-only, but for the ip of rows older than 7 days');
END;
--> statement-breakpoint
INSERT INTO `meta` (`name`, `value`) VALUES ('schema', '5');

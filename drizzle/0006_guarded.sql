CREATE TABLE `sign_in_failures` (
	`user_id` text NOT NULL,
	`hour` integer NOT NULL,
	`network` text NOT NULL,
	`count` integer NOT NULL,
	PRIMARY KEY(`user_id`, `hour`, `network`)
);
--> statement-breakpoint
CREATE INDEX `sign_in_failures_hour` ON `sign_in_failures` (`hour`);--> statement-breakpoint
CREATE TABLE `sign_in_networks` (
	`user_id` text NOT NULL,
	`network` text NOT NULL,
	`signed_in_at` integer NOT NULL,
	PRIMARY KEY(`user_id`, `network`),
	FOREIGN KEY (`user_id`) REFERENCES `users`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `sign_in_networks_time` ON `sign_in_networks` (`signed_in_at`);--> statement-breakpoint
ALTER TABLE `device_claims` ADD `client_device_id` text;--> statement-breakpoint
ALTER TABLE `device_claims` ADD `approved_session_id` text;--> statement-breakpoint
CREATE INDEX `device_claims_pending` ON `device_claims` (`expires_at`) WHERE decided_at is null;--> statement-breakpoint
CREATE INDEX `device_claims_approved` ON `device_claims` (`approved_by`) WHERE approved_by is not null and redeemed_at is null;
--> statement-breakpoint
CREATE TRIGGER `users_withdraw_claims` AFTER UPDATE OF `disabled_at` ON `users`
WHEN new.disabled_at IS NOT NULL AND old.disabled_at IS NULL
BEGIN
	UPDATE `device_claims` SET `denied_at` = CAST(unixepoch('subsec') * 1000 AS INTEGER)
	WHERE `approved_by` = new.id AND `redeemed_at` IS NULL AND `denied_at` IS NULL;
END;
--> statement-breakpoint
UPDATE `meta` SET `value` = '6' WHERE `name` = 'schema';

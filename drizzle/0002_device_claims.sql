CREATE TABLE `device_claims` (
	`id` text PRIMARY KEY NOT NULL,
	`device_code_hash` text NOT NULL,
	`user_code_hmac` text NOT NULL,
	`client_id` text NOT NULL,
	`scopes` text NOT NULL,
	`device_name` text,
	`ip` text,
	`country` text,
	`created_at` integer NOT NULL,
	`expires_at` integer NOT NULL,
	`interval_seconds` integer NOT NULL,
	`last_polled_at` integer,
	`decided_at` integer,
	`denied_at` integer,
	`approved_by` text,
	`approved_scopes` text,
	`approved_name` text,
	`target_device_id` text,
	`key_name` text,
	`key_expires_at` integer,
	`rate_limit` integer,
	`rate_window_seconds` integer,
	`quota_limit` integer,
	`quota_period` text,
	`redeemed_at` integer,
	`key_id` text
);
--> statement-breakpoint
CREATE UNIQUE INDEX `device_claims_device_code_hash_unique` ON `device_claims` (`device_code_hash`);--> statement-breakpoint
CREATE UNIQUE INDEX `device_claims_user_code_hmac_unique` ON `device_claims` (`user_code_hmac`);--> statement-breakpoint
CREATE INDEX `device_claims_expires` ON `device_claims` (`expires_at`);
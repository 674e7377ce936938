CREATE TABLE `idempotency` (
	`id` text PRIMARY KEY NOT NULL,
	`body_hash` text NOT NULL,
	`sealed` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `idempotency_created` ON `idempotency` (`created_at`);--> statement-breakpoint
ALTER TABLE `api_keys` ADD `self_rotation` integer DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE `device_claims` ADD `self_rotation` integer DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE `key_secrets` ADD `first_used_at` integer;--> statement-breakpoint
ALTER TABLE `key_secrets` ADD `first_used_country` text;--> statement-breakpoint
ALTER TABLE `key_secrets` ADD `replaces` text;--> statement-breakpoint
ALTER TABLE `key_secrets` ADD `overlap_ms` integer;--> statement-breakpoint
ALTER TABLE `key_secrets` ADD `minted_with` text;--> statement-breakpoint
ALTER TABLE `sessions` ADD `previous_hash` text;
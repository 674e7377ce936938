import * as z from 'zod'
import { deviceCreation } from './devices.ts'
import { signIn } from './sessions.ts'
import { registration, refuseUsername } from './users.ts'

/** The classic bodies: as strict about values as ours, and indifferent to further fields. */
export const classicRegistration = z.object(registration.shape).superRefine(refuseUsername)
export const classicSignIn = z.object(signIn.shape)
export const classicDevice = z.object({ device_name: deviceCreation.shape.name })

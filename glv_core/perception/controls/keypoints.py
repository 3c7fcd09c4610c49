"""Keypoints over time: people followed from frame to frame, gaps held, jitter smoothed."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

import numpy as np

from .pose_drawing import KEYPOINTS

COCO_KEYPOINTS = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
)  # fmt: skip
SAME_PERSON = 0.5  #: mean distance of the keypoints over the person's size, at most


def openpose_from_coco(people: np.ndarray, threshold: float) -> np.ndarray:
    """COCO's 17 keypoints ``p 17 3`` (x, y, score) as OpenPose's 18, ``p 18 3``; those below ``threshold`` are 0, 0, 0.

    The neck, which COCO lacks, is the middle of the shoulders with the lower of their scores.
    """
    result = np.zeros((len(people), len(KEYPOINTS), 3), np.float32)
    for number, name in enumerate(KEYPOINTS):
        if name == "neck":
            shoulders = people[:, [COCO_KEYPOINTS.index(f"{side} shoulder") for side in ("left", "right")]]
            result[:, number, :2] = shoulders[..., :2].mean(1)
            result[:, number, 2] = shoulders[..., 2].min(1)
        else:
            result[:, number] = people[:, COCO_KEYPOINTS.index(name)]
    result[result[..., 2] < threshold] = 0
    return result


def steady_people(frames: Sequence[np.ndarray], hold: int = 0, smoothing: float = 0.0) -> list[np.ndarray]:
    """People of every frame ``p k 3`` (x, y, score; score 0 for not seen) with gaps filled and less jitter.

    People are followed by their keypoints, where they were or where they would be at their last speed. A keypoint that
    is lost for at most ``hold`` frames moves in a straight line to where it is found again; one that is lost for longer
    stays where it was for ``hold`` frames. A whole person who is not found again stays so only after having been seen
    in two frames at least, and until somebody new is seen, who may be the same. Then positions are averaged over time
    with a Gaussian.

    Args:
        hold: frames; 0 fills nothing.
        smoothing: standard deviation of the Gaussian in frames; 0 for none.

    Raises:
        ValueError: a number is negative.
    """
    if hold < 0:
        raise ValueError(f"hold is {hold} frames; it must be 0 or more.")
    if smoothing < 0:
        raise ValueError(f"smoothing is {smoothing} frames; it must be 0 or more.")
    if not hold and not smoothing:
        return list(frames)
    result: list[list[np.ndarray]] = [[] for _ in frames]
    tracks = _tracks(frames, hold)
    starts = [track.first for track in tracks]  # in order
    for track in tracks:
        later = bisect.bisect_left(starts, track.end)
        until = min([len(frames), *starts[later : later + 1]])
        track.fill(hold, min(hold, until - track.end) if track.sightings > 1 else 0)
        if smoothing:
            track.smooth(smoothing)
        for number, person in enumerate(track.frames):
            if (person[:, 2] > 0).any():
                result[track.first + number].append(person)
    return [np.stack(people) if people else frames[0][:0] for people in result]


class _Track:
    """One person: keypoints in every frame from ``first`` on, with score 0 where not seen."""

    def __init__(self, first: int, person: np.ndarray) -> None:
        self.first = first
        self.frames = [person]
        self.known = person.copy()  # where each keypoint was last seen
        self.size = _size(person)
        self.sightings = 1
        self.velocity = np.zeros(2)  # pixels in a frame

    @property
    def end(self) -> int:
        """The frame after the last in which the person was seen."""
        return self.first + len(self.frames)

    def distances(self, frame: int, people: np.ndarray) -> np.ndarray:
        """Mean distance of the keypoints that both have, for each of ``p k 3``, in units of the larger person's size.

        From where they were or from where they would be now, whichever is nearer; infinite where none is in both.
        """
        both = (self.known[:, 2] > 0) & (people[..., 2] > 0)
        count = both.sum(1)
        moves = people[..., :2] - self.known[:, :2]
        further = moves - self.velocity * (frame - self.end + 1)
        ways = (np.hypot(*np.moveaxis(each, -1, 0)) for each in (moves, further))
        apart = np.minimum(*(np.where(both, way, 0).sum(1) for way in ways)) / count.clip(1)
        sizes = np.array([_size(person) for person in people])
        return np.where(count > 0, apart / np.maximum(sizes, self.size), np.inf)

    def add(self, frame: int, person: np.ndarray) -> None:
        last = self.frames[-1]
        both = (last[:, 2] > 0) & (person[:, 2] > 0)
        if both.any():
            self.velocity = (person[both, :2] - last[both, :2]).mean(0) / (frame - self.end + 1)
        while self.end < frame:
            self.frames.append(np.zeros_like(person))
        self.frames.append(person)
        seen = person[:, 2] > 0
        self.known[seen] = person[seen]
        self.size = max(_size(person), 0.9 * self.size)
        self.sightings += 1

    def fill(self, hold: int, more: int) -> None:
        """Fill gaps of up to ``hold`` frames and the first ``hold`` of longer ones; ``more`` frames at the end."""
        values = np.concatenate([np.stack(self.frames), np.zeros((more, *self.known.shape), np.float32)])
        for keypoint in range(values.shape[1]):
            seen = np.flatnonzero(values[:, keypoint, 2] > 0)
            for here, there in itertools.pairwise([*seen, len(values) + hold + 1]):
                if there - here - 1 <= hold:
                    part = (np.arange(1, there - here) / (there - here))[:, None]
                    between = values[here, keypoint] * (1 - part) + values[there, keypoint] * part
                    between[:, 2] = min(values[here, keypoint, 2], values[there, keypoint, 2])
                    values[here + 1 : there, keypoint] = between
                else:
                    values[here + 1 : min(there, here + 1 + hold), keypoint] = values[here, keypoint]
        self.frames = list(values)

    def smooth(self, sigma: float) -> None:
        """Average each keypoint over the frames in which it is there."""
        values = np.stack(self.frames)
        there = (values[..., 2:] > 0).astype(np.float64)
        total, weights = np.zeros(values[..., :2].shape), np.zeros(there.shape)
        radius = int(np.ceil(3 * sigma))
        for shift in range(-radius, radius + 1):
            into, out = slice(max(0, -shift), len(values) - max(0, shift)), slice(max(0, shift), None)
            out = slice(out.start, len(values) - max(0, -shift))
            if into.stop > into.start:
                weight = np.exp(-0.5 * (shift / sigma) ** 2) * there[out]
                total[into] += weight * values[out, :, :2]
                weights[into] += weight
        values[..., :2] = np.where(there > 0, total / np.maximum(weights, 1e-9), values[..., :2])
        self.frames = list(values)


def _size(person: np.ndarray) -> float:
    """Longer side of the box around the keypoints that are seen."""
    places = person[person[:, 2] > 0, :2]
    return max(1.0, float(np.ptp(places, 0).max())) if len(places) else 1.0


def _tracks(frames: Sequence[np.ndarray], hold: int) -> list[_Track]:
    """Track people: the nearest pairs first, a lost person for ``hold`` frames."""
    tracks: list[_Track] = []
    for number, people in enumerate(frames):
        alive = [track for track in tracks if number - track.end <= hold]
        near = (track.distances(number, np.stack(people)).tolist() if len(people) else [] for track in alive)
        pairs = sorted((distance, t, p) for t, row in enumerate(near) for p, distance in enumerate(row))
        free_tracks, free_people = set(range(len(alive))), set(range(len(people)))
        for distance, t, p in pairs:
            if distance <= SAME_PERSON and t in free_tracks and p in free_people:
                free_tracks.remove(t)
                free_people.remove(p)
                alive[t].add(number, people[p])
        tracks += [_Track(number, people[p]) for p in sorted(free_people)]
    return tracks

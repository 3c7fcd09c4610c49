"""Keypoints over time: people followed from frame to frame, gaps held, jitter smoothed."""

from __future__ import annotations

import bisect
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
        person = track.filled(hold, min(hold, until - track.end) if len(track.at) > 1 else 0)
        if smoothing:
            person = _smoothed(person, smoothing)
        for number in np.flatnonzero((person[..., 2] > 0).any(1)).tolist():
            result[track.first + number].append(person[number])
    return [np.stack(people) if people else frames[0][:0] for people in result]


class _Track:
    """One person: where seen, keypoints ``k 3`` with score 0 where not seen, and in which frames."""

    def __init__(self, first: int, person: np.ndarray, size: float) -> None:
        self.first = first
        self.seen = [person]
        self.at = [first]
        self.known = person  # where each keypoint was last seen
        self.size = size
        self.velocity = np.zeros(2)  # pixels in a frame

    @property
    def end(self) -> int:
        """The frame after the last in which the person was seen."""
        return self.at[-1] + 1

    def add(self, frame: int, person: np.ndarray, size: float) -> None:
        last = self.seen[-1]
        both = (last[:, 2] > 0) & (person[:, 2] > 0)
        if both.any():
            self.velocity = (person[both, :2] - last[both, :2]).mean(0) / (frame - self.at[-1])
        self.seen.append(person)
        self.at.append(frame)
        self.known = np.where(person[:, 2:] > 0, person, self.known)
        self.size = max(size, 0.9 * self.size)

    def filled(self, hold: int, more: int) -> np.ndarray:
        """The person in every frame from ``first`` on, ``t k 3``, and in ``more`` after the last.

        Gaps of up to ``hold`` frames are filled, and the first ``hold`` of longer ones.
        """
        values = np.zeros((self.end - self.first + more, *self.known.shape), self.known.dtype)
        values[np.array(self.at) - self.first] = self.seen
        seen = values[..., 2] > 0
        number = np.arange(len(values))[:, None]
        here = np.maximum.accumulate(np.where(seen, number, -1))
        never = len(values) + hold + 1
        there = np.minimum.accumulate(np.where(seen, number, never)[::-1])[::-1]
        frame, keypoint = ((here >= 0) & ~seen & ((there - here - 1 <= hold) | (number - here <= hold))).nonzero()
        here, there = here[frame, keypoint], there[frame, keypoint]
        before, after = values[here, keypoint], values[np.minimum(there, len(values) - 1), keypoint]
        part = ((frame - here) / (there - here))[:, None]
        between = before * (1 - part) + after * part
        between[:, 2] = np.minimum(before[:, 2], after[:, 2])
        values[frame, keypoint] = np.where((there - here - 1 <= hold)[:, None], between, before)
        return values


def _smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """Each keypoint of a person ``t k 3`` averaged over the frames in which it is there."""
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
    result = values.copy()
    result[..., :2] = np.where(there > 0, total / np.maximum(weights, 1e-9), values[..., :2])
    return result


def _sizes(people: np.ndarray) -> np.ndarray:
    """Of each of ``p k 3`` the longer side of the box around the keypoints that are seen."""
    seen = people[..., 2:] > 0
    low, high = (
        way(np.where(seen, people[..., :2], none), 1) for way, none in ((np.min, np.inf), (np.max, -np.inf))
    )  # fmt: skip
    return (high - low).max(1).clip(1)


def _distances(tracks: list[_Track], frame: int, people: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Mean distance of the keypoints that a track and one of the people ``p k 3`` both have, ``n p``, in units of the
    larger size.

    From where they were or from where they would be now, whichever is nearer; infinite where none is in both.
    """
    known = np.stack([track.known for track in tracks])[:, None]
    steps = np.stack([track.velocity * (frame - track.end + 1) for track in tracks])
    both = (known[..., 2] > 0) & (people[..., 2] > 0)
    count = both.sum(-1)
    moves = people[..., :2] - known[..., :2]
    further = moves - steps[:, None, None]
    ways = (np.hypot(each[..., 0], each[..., 1]) for each in (moves, further))
    apart = np.minimum(*(np.where(both, way, 0).sum(-1) for way in ways)) / count.clip(1)
    larger = np.maximum(sizes, np.array([track.size for track in tracks])[:, None])
    return np.where(count > 0, apart / larger, np.inf)


def _tracks(frames: Sequence[np.ndarray], hold: int) -> list[_Track]:
    """Track people: the nearest pairs first, a lost person for ``hold`` frames."""
    tracks: list[_Track] = []
    alive: list[_Track] = []
    for number, people in enumerate(frames):
        if not len(people):
            continue
        people = np.stack(people)
        sizes = _sizes(people)
        alive = [track for track in alive if number - track.end <= hold]
        free_people = set(range(len(people)))
        if alive:
            distances = _distances(alive, number, people, sizes)
            near = np.argwhere(distances <= SAME_PERSON)
            free_tracks = set(range(len(alive)))
            for t, p in near[np.argsort(distances[tuple(near.T)], kind="stable")].tolist():
                if t in free_tracks and p in free_people:
                    free_tracks.remove(t)
                    free_people.remove(p)
                    alive[t].add(number, people[p], float(sizes[p]))
        new = [_Track(number, people[p], float(sizes[p])) for p in sorted(free_people)]
        tracks += new
        alive += new
    return tracks
